/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The file sink: what its operations and its manners of writing share. */
#ifndef STREAM_V3_SINK_FILE_H
#define STREAM_V3_SINK_FILE_H

#include "engine.h"

struct buffer {
    uint64_t offset;            /* of the file, since it was put */
    uint64_t number;            /* while busy */
    uint32_t begin, end;        /* octets of it to write */
    uint32_t done;              /* direct octets written so far */
    bool busy;
};

struct file_sink;

struct manner {
    enum v3_io io;
    /* Buffer number `number` is full, or the last. */
    int (*put)(struct file_sink *file, uint64_t number);
};

struct file_sink {
    struct v3_sink sink;
    const struct manner *manner;
    int fd;                     /* the caller's */
    int direct_fd;
    char name[256];
    bool may_fall_back;
    bool fell_back_checked;
    bool dontcache;             /* window: pwritev2 takes the flag */
    uint64_t dropped;           /* window: octets before this are gone */
    uint64_t base;              /* file offset of buffer number 0, which a
                                 * hole moves for the buffers behind it */
    uint64_t hole_from;         /* octets from here on read as zero */
    bool in_place;              /* octets of an earlier life may be there */
    uint64_t first_unput;       /* buffer numbers */
    struct v3_buffers buffers;
    struct buffer *buffer;      /* number n lives in n % count */
    struct v3_io_engine *engine;
};

static inline uint64_t file_number(const struct file_sink *file,
                                   uint64_t offset)
{
    return (offset - file->base) / file->buffers.size;
}

static inline uint64_t buffer_offset(const struct file_sink *file,
                                     uint64_t number)
{
    return file->base + number * file->buffers.size;
}

static inline struct buffer *buffer_of(struct file_sink *file,
                                       uint64_t number)
{
    return &file->buffer[number % file->buffers.count];
}

static inline uint8_t *memory_of(struct file_sink *file, uint64_t number)
{
    return file->buffers.base +
           number % file->buffers.count * file->buffers.size;
}

/* ---- sink_manner.c ------------------------------------------------------ */

extern const struct manner v3_manner_direct, v3_manner_window,
                           v3_manner_buffered;

int v3_manner_failed(struct file_sink *file, int errnum, uint64_t offset);
/* Bytes of a buffer, through the caller's fd. */
int v3_manner_write_cached(struct file_sink *file, uint64_t number,
                           uint32_t begin, uint32_t end);
/* A direct transfer of this buffer has ended. */
int v3_manner_completed(struct file_sink *file, uint32_t index, int result);
/* Waits for the next. */
int v3_manner_reap(struct file_sink *file);
/* Window: writes back and forgets what lies before `offset`. */
int v3_manner_drop_before(struct file_sink *file, uint64_t offset);

#endif /* STREAM_V3_SINK_FILE_H */
