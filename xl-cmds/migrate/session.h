/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One connection to xl-aligned listen: a process of its own without
 * privileges, which does everything that a peer can have a part in.
 */
#ifndef XL_CMDS_SESSION_H
#define XL_CMDS_SESSION_H

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
    const struct carrier *carrier;
    const struct carrier_options *options;
    const char *format; /* NULL: whatever both ends know */
    unsigned handshake_seconds, stall_seconds;
    bool accept_stock;
    uid_t uid; /* to become, if this is root */
    gid_t gid;
    bool confine; /* this kernel can: sandbox.c */
};

/* The whole life of a session; its exit status. */
int session_run(const struct session *session);

/* The descriptors of xl for the session at the other end of `control`. */
int control_send_fds(int control, const int fds[2]);

/* ---- sandbox.c: what a session gives up before it talks to its peer ----- */

/* -1 and errno if any privilege is left. */
int privileges_drop(uid_t uid, gid_t gid);
bool sandbox_supported(void); /* false: errno says what is missing */
/* Only with what privileges_drop leaves; -1 and errno. */
int sandbox_enter(void);

#endif /* XL_CMDS_SESSION_H */
