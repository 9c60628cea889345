/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How far a save or migration is, in a page of memory that is shared by the
 * command that shows it, the toolstack that knows how much there is, and the
 * helper that knows how much is done.  It is a sealed memfd, which
 * XL_ALIGNED_PROGRESS names; nothing else is mapped.
 */
#ifndef XENSAVE_PROGRESS_H
#define XENSAVE_PROGRESS_H

#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/fd.h"
#include "xensave.h"

#define PROGRESS_LENGTH 4096U

enum progress_page_phase {
    PROGRESS_START, /* nothing of the memory is written */
    PROGRESS_MEMORY,
    PROGRESS_COMMIT,  /* memory is written, storage is waited for */
    PROGRESS_DEVICES, /* it is read, the domain is completed */
};

struct progress_page {
    char magic[8];
    _Atomic uint32_t phase;
    _Atomic uint64_t total;   /* octets of the domain's memory; 0: unknown */
    _Atomic uint64_t done;    /* octets of the v2 stream; may pass total */
    _Atomic uint64_t written; /* octets of the file or stream */
    _Atomic uint32_t passes;  /* struct xensave_passes */
    _Atomic uint64_t pass_pages[XENSAVE_PASSES];
};

/*
 * Of a page that progress_page_create() has made, in any process of the same
 * user; NULL: nothing is known of it, or it is something else.
 */
struct progress_page *progress_page_map(const char *path);
/* `path` is good while `*fd` is open.  NULL: errno says why, `*fd` is -1. */
struct progress_page *progress_page_create(const char *name,
                                           char path[FD_PATH], int *fd);

#endif /* XENSAVE_PROGRESS_H */
