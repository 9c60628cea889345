/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How xl-aligned listen is divided: the listener (privileged) accepts
 * connections and starts xl; a session (a process of its own without
 * privileges) does everything that a peer can have a part in.
 */
#ifndef XL_CMDS_LISTENER_H
#define XL_CMDS_LISTENER_H

#include <sys/types.h>

#include "transport/options.h"

/* What a session asks of the listener, in one packet... */
struct session_request {
    uint32_t version;           /* of the stream */
    uint32_t request;           /* V3_HELLO_PAUSE and so on */
    char peer[160];
};
/* ...to which the answer is one octet, with two descriptors if it is 1. */

struct session {
    int fd;                     /* the connection */
    int control;                /* to the listener */
    const struct transport *transport;
    const struct transport_options *options;
    const char *format;         /* NULL: whatever both ends know */
    unsigned handshake_seconds;
    bool accept_stock;
    const char *busy;           /* NULL, or why no domain can be taken */
    uid_t uid;                  /* to become, if this is root */
    gid_t gid;
    bool confine;               /* this kernel can: sandbox.c */
};

/* session.c: the whole life of a session; its exit status. */
int session_run(const struct session *session);

/* control.c */
int control_send_fds(int control, const int fds[2]);
/* 0, or -1 if the listener refused. */
int control_receive_fds(int control, int fds[2]);

/* privileges.c: -1 and errno if any is left. */
int privileges_drop(uid_t uid, gid_t gid);

/* sandbox.c */
bool sandbox_supported(void);   /* false: errno says what is missing */
/* Only with what privileges_drop leaves; -1 and errno. */
int sandbox_enter(void);

/* ---- the listener ------------------------------------------------------ */

#define SOCKETS_MAX     16
#define SESSION_USER    "xl-aligned"    /* sysusers.d has it */

struct listening {
    int fd;
    const struct transport *transport;
};

/* One process: a session, or the xl that was started for one. */
struct child {
    pid_t pid;
    bool is_xl;
    bool agreed;                /* sessions: past the handshake */
    int control;                /* sessions: -1 once closed */
    uint64_t order;
    char peer[160];
};

struct listener {
    struct listening sockets[SOCKETS_MAX];
    size_t socket_count;
    bool systemd;
    struct transport_options options;
    char **allow;               /* ends with NULL */
    size_t allow_count;
    const char *format;
    const char *user;           /* NULL: SESSION_USER */
    uid_t uid;
    gid_t gid;
    bool confine;
    unsigned connections, domains, handshake_seconds;
    bool stock;                 /* also over TCP, where anybody may come */
    const char *program;
    struct child *children;
    size_t child_count, child_room;
    uint64_t accepted;
};

/* children.c */
struct child *child_add(struct listener *listener, pid_t pid, bool is_xl,
                        const char *peer);
unsigned count_xl(const struct listener *listener);
void children_reap(struct listener *listener);
void children_make_room(struct listener *listener);

/* arrival.c: its stdin and stdout go to the session at `control`. */
pid_t arrival_start_xl(const struct listener *listener, uint32_t request,
                       const char *peer, int control);

/* listener.c: the exit status. */
int listener_serve(struct listener *listener);

#endif /* XL_CMDS_LISTENER_H */
