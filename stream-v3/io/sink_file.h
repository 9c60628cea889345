/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The file sink: what its operations and its manners of writing share. */
#ifndef XENSAVE_SINK_FILE_H
#define XENSAVE_SINK_FILE_H

#include "engine.h"

struct buffer {
    uint64_t offset;     /* of the file, since it was put */
    uint64_t number;     /* while busy */
    uint32_t begin, end; /* bytes of it to write */
    uint32_t done;       /* direct bytes written so far */
    bool busy;
};

struct file_sink;

struct manner {
    enum xensave_io io;
    /* Buffer number `number` is full, or the last. */
    int (*put)(struct file_sink *file, uint64_t number);
};

struct file_sink {
    struct xensave_sink sink;
    const struct manner *manner;
    struct xensave_file_io io; /* a hole moves its base */
    bool may_fall_back;
    bool fell_back_checked;
    bool dontcache;        /* window: pwritev2 takes the flag */
    uint64_t dropped;      /* window: bytes before this are gone */
    uint64_t hole_from;    /* bytes from here on read as zero */
    bool in_place;         /* bytes of an earlier life may be there */
    uint64_t first_unput;  /* buffer numbers */
    struct buffer *buffer; /* number n lives in n % count */
};

static inline uint64_t file_number(const struct file_sink *file,
                                   uint64_t offset)
{
    return (offset - file->io.base) / file->io.buffers.size;
}

static inline struct buffer *buffer_of(struct file_sink *file, uint64_t number)
{
    return &file->buffer[number % file->io.buffers.count];
}

/* ---- sink_manner.c ------------------------------------------------------ */

extern const struct manner xensave_manner_direct, xensave_manner_window,
    xensave_manner_buffered;

int xensave_manner_failed(struct file_sink *file, int errnum, uint64_t offset);
/* Bytes of a buffer, through the caller's fd. */
int xensave_manner_write_cached(struct file_sink *file, uint64_t number,
                                uint32_t begin, uint32_t end);
/* A direct transfer of this buffer has ended. */
int xensave_manner_completed(struct file_sink *file, uint32_t index,
                             int result);
/* Waits for the next. */
int xensave_manner_reap(struct file_sink *file);
/* Window: writes back and forgets what lies before `offset`. */
int xensave_manner_drop_before(struct file_sink *file, uint64_t offset);

#endif /* XENSAVE_SINK_FILE_H */
