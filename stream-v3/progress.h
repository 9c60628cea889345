/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How far a save or migration is, in a page of memory that is shared by the
 * command that shows it, the toolstack that knows how much there is, and the
 * helper that knows how much is done.  XL_ALIGNED_PROGRESS names the file to
 * map.
 */
#ifndef STREAM_V3_PROGRESS_H
#define STREAM_V3_PROGRESS_H

#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stream-v3.h"

#define V3_PROGRESS_LENGTH  4096U
#define V3_PROGRESS_PATH    64U     /* octets of the name, NUL included */

enum v3_progress_phase {
    V3_PROGRESS_START,          /* nothing of the memory is written */
    V3_PROGRESS_MEMORY,
    V3_PROGRESS_COMMIT,         /* memory is written, storage is waited for */
    V3_PROGRESS_DEVICES,        /* it is read, the domain is completed */
};

struct v3_progress {
    _Atomic uint32_t phase;
    _Atomic uint64_t total;     /* octets of the domain's memory; 0: unknown */
    _Atomic uint64_t done;      /* octets of the v2 stream; may pass total */
    _Atomic uint64_t written;   /* octets of the file or stream */
    _Atomic uint32_t passes;    /* struct v3_passes */
    _Atomic uint64_t pass_pages[V3_PASSES];
};

/* NULL: there is nothing to tell anybody. */
static inline struct v3_progress *v3_progress_map(const char *path)
{
    void *page;
    int fd;

    fd = path ? open(path, O_RDWR | O_CLOEXEC | O_NOCTTY) : -1;
    if (fd < 0)
        return NULL;
    /* Beyond the end of a shorter file, a write would be a SIGBUS. */
    if (lseek(fd, 0, SEEK_END) != V3_PROGRESS_LENGTH)
        page = MAP_FAILED;
    else
        page = mmap(NULL, V3_PROGRESS_LENGTH, PROT_READ | PROT_WRITE,
                    MAP_SHARED, fd, 0);
    close(fd);
    return page == MAP_FAILED ? NULL : (struct v3_progress *)page;
}

#endif /* STREAM_V3_PROGRESS_H */
