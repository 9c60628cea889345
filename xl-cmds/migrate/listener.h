/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How xl-aligned listen is divided: the listener (privileged) accepts
 * connections and starts xl; a session (a process of its own without
 * privileges) does everything that a peer can have a part in.
 */
#ifndef XL_CMDS_LISTENER_H
#define XL_CMDS_LISTENER_H

#include <sys/stat.h>
#include <sys/types.h>

#include "xl-cmds/migrate/carriers/options.h"

/* What a session asks of the listener, in one packet... */
struct session_request {
    uint32_t version; /* of the stream */
    uint32_t request; /* HELLO_PAUSE and so on */
    char peer[160];
    char subject[256]; /* of the certificate, or empty */
};
/* ...to which the answer is a byte 1 and two descriptors, or why not. */

struct session {
    int fd;      /* the connection */
    int control; /* to the listener */
    const struct transport *transport;
    const struct transport_options *options;
    const char *format; /* NULL: whatever both ends know */
    unsigned handshake_seconds, stall_seconds;
    bool accept_stock;
    uid_t uid; /* to become, if this is root */
    gid_t gid;
    bool confine; /* this kernel can: sandbox.c */
};

/* session.c: the whole life of a session; its exit status. */
int session_run(const struct session *session);

/* control.c */
int control_send_fds(int control, const int fds[2]);
/* 0, or -1 if the listener refused: `why`. */
int control_receive_fds(int control, int fds[2], char *why, size_t size);

/* privileges.c: -1 and errno if any is left. */
int privileges_drop(uid_t uid, gid_t gid);

/* sandbox.c */
bool sandbox_supported(void); /* false: errno says what is missing */
/* Only with what privileges_drop leaves; -1 and errno. */
int sandbox_enter(void);

/* ---- the listener ------------------------------------------------------- */

#define SOCKETS_MAX  16
#define SESSION_USER "xl-aligned" /* sysusers.d has it */

struct listening {
    int fd;
    const struct transport *transport;
};

/* One process: a session, or the xl that was started for one. */
struct child {
    pid_t pid;
    bool is_xl;
    bool asked;       /* sessions: for an xl */
    pid_t xl;         /* sessions: the one that it got, or 0 */
    bool told;        /* sessions: to end */
    int64_t deadline; /* when it is killed; 0 never */
    int control;      /* sessions: -1 once closed */
    uint64_t order;
    char address[64]; /* without a port */
    char peer[160];
    char subject[256]; /* of a certificate, of an xl */
};

struct listener {
    struct listening sockets[SOCKETS_MAX];
    size_t socket_count;
    bool systemd;
    struct transport_options options;
    struct arguments given, files; /* --allow, --allow-file */
    struct arguments allow;        /* what both of them say */
    struct stat revoked;           /* the file of --crl when it was read */
    const char *format;
    const char *user; /* NULL: SESSION_USER */
    uid_t uid;
    gid_t gid;
    bool confine;
    unsigned connections, domains, domains_each;
    unsigned handshake_seconds, stall_seconds;
    int reserve; /* closed to refuse when there is no other */
    bool stock;  /* also over TCP, where anybody may come */
    const char *program;
    struct child *children;
    size_t child_count, child_room;
    uint64_t accepted;
};

/* children.c */
struct child *child_add(struct listener *listener, pid_t pid, bool is_xl,
                        const char *peer);
unsigned count_xl(const struct listener *listener);
/* Those that are still shaking hands: how many there are. */
unsigned children_shaking(const struct listener *listener);
void children_reap(struct listener *listener);
/* One more is to shake hands: ends another if there are too many. */
void children_make_room(struct listener *listener);
/* Ends those that shake hands: the listener is ending. */
void children_end(struct listener *listener);
/* Kills those that had to be gone by now; whether others will have to be. */
bool children_expire(struct listener *listener);
/* Why no other domain may arrive, by `subject` in particular; or NULL. */
const char *children_refuse_domain(const struct listener *listener,
                                   const char *subject, char *text,
                                   size_t size);

/* allow.c */
/* An entry that can match a certificate; another is reported, by `where`. */
void allow_add(struct arguments *list, const char *where, const char *entry);
/* The entries of a file: a status. */
int allow_read(struct arguments *list, const char *name);

/*
 * credentials.c: reads certificates, revocations and lists, all of them or
 * none.  A status.
 */
int credentials_load(struct listener *listener);
/* If the revocations have changed; whatever fails leaves the old ones. */
void credentials_refresh(struct listener *listener);

/* arrival.c: its stdin and stdout go to the session at `control`. */
pid_t arrival_start_xl(const struct listener *listener, uint32_t request,
                       const char *peer, int control);

/* listener.c: the exit status. */
int listener_serve(struct listener *listener);

#endif /* XL_CMDS_LISTENER_H */
