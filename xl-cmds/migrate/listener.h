/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The privileged part of xl-aligned listen: accepts connections and starts xl.
 * What peers send is read by sessions (session.h).
 */
#ifndef XL_CMDS_LISTENER_H
#define XL_CMDS_LISTENER_H

#include <sys/stat.h>

#include "xl-cmds/migrate/carriers/options.h"

#define SOCKETS_MAX  16
#define SESSION_USER "xl-aligned" /* created by sysusers.d */

struct listening {
    int fd;
    const struct carrier *carrier;
};

/* One process: a session, or the xl that was started for one. */
struct child {
    pid_t pid;
    bool is_xl;
    bool asked;       /* sessions: xl was requested */
    pid_t xl;         /* sessions: its xl, or 0 */
    bool ending;      /* sessions: asked to end */
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
    struct carrier_options options;
    struct arguments given, files; /* --allow, --allow-file */
    struct arguments allow;        /* both combined */
    struct stat revoked;           /* the file of --crl when it was read */
    const char *format;
    const char *user; /* NULL: SESSION_USER */
    uid_t uid;
    gid_t gid;
    bool confine;
    unsigned connections, domains, domains_each;
    unsigned handshake_seconds, stall_seconds;
    int reserve; /* closed to refuse a connection when none is left */
    bool stock;  /* also over TCP, from any host */
    const char *program;
    struct child *children;
    size_t child_count, child_room;
    uint64_t accepted;
};

/* Its exit status. */
int listener_serve(struct listener *listener);

/* ---- children.c: the processes, and how many there may be --------------- */

struct child *child_add(struct listener *listener, pid_t pid, bool is_xl,
                        const char *peer);
unsigned count_xl(const struct listener *listener);
/* The number of handshakes in progress. */
unsigned children_shaking(const struct listener *listener);
void children_reap(struct listener *listener);
/* Before a new handshake: ends another if there are too many. */
void children_make_room(struct listener *listener);
/* Ends all handshakes: the listener is shutting down. */
void children_end(struct listener *listener);
/* Kills children past their deadline; true if others have a deadline. */
bool children_expire(struct listener *listener);
/* Why no further domain may arrive, in particular from `subject`; or NULL. */
const char *children_refuse_domain(const struct listener *listener,
                                   const char *subject, char *text,
                                   size_t size);

/* ---- credentials.c: certificates, and the lists of --allow -------------- */

/*
 * Adds an entry if it can match a certificate, else warns; `where` is its
 * origin.
 */
void allow_add(struct arguments *list, const char *where, const char *entry);
/* Adds the entries of a file; a status. */
int allow_read(struct arguments *list, const char *name);

/* Reads certificates, revocations and lists, all or none; a status. */
int credentials_load(struct listener *listener);
/* Reloads revocations that have changed; on failure the old ones stay. */
void credentials_refresh(struct listener *listener);

#endif /* XL_CMDS_LISTENER_H */
