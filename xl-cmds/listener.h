/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How xl-aligned listen is divided: the listener (privileged) accepts
 * connections and starts xl; a session (a process of its own without
 * privileges) does everything that a peer can have a part in.
 */
#ifndef XL_CMDS_LISTENER_H
#define XL_CMDS_LISTENER_H

#include <sys/types.h>

#include "transport/transport.h"

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
};

/* session.c: the whole life of a session; its exit status. */
int session_run(const struct session *session);

/* control.c */
int control_send_fds(int control, const int fds[2]);
/* 0, or -1 if the listener refused. */
int control_receive_fds(int control, int fds[2]);

/* privileges.c: -1 and errno if any is left. */
int privileges_drop(uid_t uid, gid_t gid);

#endif /* XL_CMDS_LISTENER_H */
