/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small parts of a file or of a stream, by their offset. */
#ifndef XENSAVE_WINDOW_H
#define XENSAVE_WINDOW_H

#include "stream-v3/internal.h"

/* What a parser of headers reads from. */
struct xensave_bytes {
    /*
     * `length` bytes at `offset`, valid until the next call.  NULL with
     * errno: ENODATA at the end.
     */
    const void *(*look)(struct xensave_bytes *bytes, uint64_t offset,
                        size_t length);
    uint64_t size; /* UINT64_MAX: not known */
};

/* Holds the header and the pfns of a full batch. */
#define XENSAVE_WINDOW 16384U

/* A file.  What the window has left behind leaves the page cache. */
struct xensave_window {
    struct xensave_bytes bytes;
    int fd;
    uint64_t offset; /* in the file, of what it holds */
    size_t length;
    uint8_t data[XENSAVE_WINDOW];
};

void xensave_window_init(struct xensave_window *window, int fd, uint64_t size);
void xensave_window_close(struct xensave_window *window);

#endif /* XENSAVE_WINDOW_H */
