/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How far a save or migration is, in a page of memory that is shared by the
 * command that shows it, the toolstack that knows how much there is, and the
 * helper that knows how much is done.  It is a sealed memfd, which
 * XL_ALIGNED_PROGRESS names; nothing else is mapped.
 */
#ifndef STREAM_V3_PROGRESS_H
#define STREAM_V3_PROGRESS_H

#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "xensave.h"

#define V3_PROGRESS_LENGTH  4096U
#define V3_PROGRESS_PATH    64U     /* octets of the name, NUL included */

enum v3_progress_phase {
    V3_PROGRESS_START,          /* nothing of the memory is written */
    V3_PROGRESS_MEMORY,
    V3_PROGRESS_COMMIT,         /* memory is written, storage is waited for */
    V3_PROGRESS_DEVICES,        /* it is read, the domain is completed */
};

struct v3_progress {
    char magic[8];
    _Atomic uint32_t phase;
    _Atomic uint64_t total;     /* octets of the domain's memory; 0: unknown */
    _Atomic uint64_t done;      /* octets of the v2 stream; may pass total */
    _Atomic uint64_t written;   /* octets of the file or stream */
    _Atomic uint32_t passes;    /* struct v3_passes */
    _Atomic uint64_t pass_pages[V3_PASSES];
};

/*
 * Of a page that v3_progress_create() has made, in any process of the same
 * user; NULL: nothing is known of it, or it is something else.
 */
struct v3_progress *v3_progress_map(const char *path);
/* `path` is good while `*fd` is open.  NULL: errno says why, `*fd` is -1. */
struct v3_progress *v3_progress_create(const char *name,
                                       char path[V3_PROGRESS_PATH], int *fd);

#endif /* STREAM_V3_PROGRESS_H */
