/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One connection to xl-aligned listen: a process of its own without
 * privileges, which handles everything that the peer sends.
 */
#ifndef XL_CMDS_SESSION_H
#define XL_CMDS_SESSION_H

#include "xl-cmds/migrate/carriers/options.h"

/* The request of a session to the listener, in one packet. */
struct session_request {
    uint32_t version; /* of the stream */
    uint32_t request; /* HELLO_PAUSE and so on */
    char peer[160];
    char subject[256]; /* of the certificate, or empty */
};
/* The answer is a byte 1 and two descriptors, or the reason for a refusal. */

struct session {
    int fd;      /* the connection */
    int control; /* to the listener */
    const struct carrier *carrier;
    const struct carrier_options *options;
    const char *format; /* NULL: anything that both ends know */
    unsigned handshake_seconds, stall_seconds;
    bool accept_stock;
    uid_t uid; /* to switch to, if this is root */
    gid_t gid;
    bool confine; /* if the kernel can: sandbox.c */
};

/* Runs a session; its exit status. */
int session_run(const struct session *session);

/* Sends xl's descriptors to the session at the other end of `control`. */
int control_send_fds(int control, const int fds[2]);

/* ---- sandbox.c: what a session gives up before it talks to its peer ----- */

/* -1 and errno if any privilege is left. */
int privileges_drop(uid_t uid, gid_t gid);
bool sandbox_supported(void); /* false: errno is set */
/* After privileges_drop(); -1 and errno. */
int sandbox_enter(void);

#endif /* XL_CMDS_SESSION_H */
