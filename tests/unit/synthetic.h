/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* v2 streams and scratch files for the unit tests. */
#ifndef SYNTHETIC_H
#define SYNTHETIC_H

#include "xensave.h"

enum synthetic_pages {
    PAGES_FULL,
    PAGES_ZERO,
    PAGES_ALTERNATING,
    PAGES_MIXED_TYPES,
    PAGES_TEXT, /* mixed types, and contents that compress */
};

struct bytes {
    uint8_t *data;
    size_t length;
};

/* A whole v2 stream of `batches` batches; free() the data. */
struct bytes synthetic_stream(enum synthetic_pages pages, unsigned batches,
                              unsigned count, unsigned seed);
/* An unlinked file in the build directory: O_DIRECT works where it does. */
int scratch_file(void);
/*
 * A loop device of that file: what is in the file is on the disk, what only
 * the device shows is in the page cache.  -1: not on this machine.
 */
int loop_device(int backing);
/* xl header with a configuration of `config` bytes, libxl header. */
struct bytes synthetic_head(unsigned config);
/* Contents of the file from offset 0. */
struct bytes slurp(int fd);

#endif /* SYNTHETIC_H */
