/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef XL_CMDS_TRANSPORT_H
#define XL_CMDS_TRANSPORT_H

#include "common/fd.h"
#include "operation/handoff.h"

/*
 * How the internal command transport is getting on, for the command that
 * started it and for the plugin (negotiation.md, section 7).
 */
struct board {
    struct handoff_board plugin;
    char carrier[64]; /* "tls, TLS_AES_256_GCM_SHA384" */
    char peer[64];    /* its program */
    char error[1024];
    uint64_t sent, received; /* on the link, HELLO included */
    uint64_t spliced;        /* 1: some without a copy */
    int64_t began, last;     /* ms of the first, last byte */
    int64_t answered;        /* ms of the last from the receiver */
};

/* In memory, and a path by which processes of this user open it. */
struct board *board_create(char path[FD_PATH]);

#endif /* XL_CMDS_TRANSPORT_H */
