/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What libxl writes behind the stream: records up to an END of its own. */
#ifndef XL_CMDS_TAIL_H
#define XL_CMDS_TAIL_H

#include "xensave.h"

struct tail {
    int in;           /* stands directly behind the stream */
    int out;          /* -1: read only */
    uint64_t limit;   /* bytes to take at most; UINT64_MAX: to the end */
    bool stop_at_end; /* a device goes on behind END, a file does not */
    uint64_t bytes;   /* that were taken */
    bool ended;       /* END was among them */
};

/*
 * -1 and `error` if reading or writing fails, or if it is longer than
 * XENSAVE_SURROUNDINGS_MAX.  The offset of a file that is `in` is of no use
 * then.
 */
int tail_copy(struct tail *tail, struct xensave_error *error);

#endif /* XL_CMDS_TAIL_H */
