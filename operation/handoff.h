/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One page of memory for each operation, shared by the command that started
 * it, the toolstack and the save helper: its progress, the helper's process and
 * the request to cancel.  A sealed memfd, whose path is in XL_ALIGNED_PROGRESS.
 */
#ifndef XENSAVE_HANDOFF_H
#define XENSAVE_HANDOFF_H

#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/fd.h"
#include "xensave.h"

#define HANDOFF_SIZE 4096U

enum handoff_phase {
    PROGRESS_START, /* no memory written yet */
    PROGRESS_MEMORY,
    PROGRESS_COMMIT,  /* memory is written, syncing */
    PROGRESS_DEVICES, /* memory is read, completing the domain */
};

struct handoff {
    char magic[8];
    _Atomic uint32_t phase;
    _Atomic uint64_t total;   /* bytes of the domain's memory; 0: unknown */
    _Atomic uint64_t done;    /* bytes of the v2 stream; may pass total */
    _Atomic uint64_t written; /* bytes of the file or stream */
    _Atomic uint32_t passes;  /* struct xensave_passes */
    _Atomic uint64_t pass_pages[XENSAVE_PASSES];
    _Atomic int32_t helper_pid; /* 0: none yet */
    _Atomic uint64_t helper_start;
    _Atomic uint32_t domid;
    _Atomic uint32_t cancelled; /* not 0: the helper must abort */
};

#define DOMID_UNKNOWN UINT32_MAX

/*
 * The start of the file named by XL_ALIGNED_NEGOTIATED, through which a
 * transport and the plugin communicate (docs/spec/negotiation.md, section 7).
 */
struct handoff_board {
    char negotiated[128]; /* "format=v3\nfeatures=0x3\n" */
    char suspended[128];  /* "suspended=MS\n", the plugin's */
};

/*
 * Maps a page of handoff_create(), in any process of the same user.  NULL: it
 * does not exist, or is something else.
 */
struct handoff *handoff_map(const char *path);
/* `path` is good while `*fd` is open.  NULL: errno says why, `*fd` is -1. */
struct handoff *handoff_create(const char *name, char path[FD_PATH], int *fd);

/* By the helper itself: takes no lock and allocates nothing. */
void handoff_enter(struct handoff *handoff);
struct process;
void handoff_helper(const struct handoff *handoff, struct process *process);

#endif /* XENSAVE_HANDOFF_H */
