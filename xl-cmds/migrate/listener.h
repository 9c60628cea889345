/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The privileged part of xl-aligned listen: accepts connections and starts xl.
 * What peers send is read by sessions (session.h).
 */
#ifndef XL_CMDS_LISTENER_H
#define XL_CMDS_LISTENER_H

#include <sys/stat.h>

#include "xl-cmds/migrate/carriers/options.h"
#include "children.h"

#define SOCKETS_MAX  16
#define SESSION_USER "xl-aligned" /* sysusers.d has it */

struct listening {
    int fd;
    const struct carrier *carrier;
};

struct listener {
    struct listening sockets[SOCKETS_MAX];
    size_t socket_count;
    bool systemd;
    struct carrier_options options;
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

/* Its exit status. */
int listener_serve(struct listener *listener);

#endif /* XL_CMDS_LISTENER_H */
