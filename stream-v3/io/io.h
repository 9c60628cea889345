/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sinks and sources as their kinds and their users inside see them. */
#ifndef XENSAVE_IO_H
#define XENSAVE_IO_H

#include "stream-v3/internal.h"

/* ---- file.c: facts about a file and its device -------------------------- */

/* Multiple of 4096 that direct I/O needs; 0 if the kernel says it cannot. */
uint32_t xensave_direct_alignment(int fd);
/* Of a regular file or a block device. -1 with errno. */
int xensave_file_size(int fd, uint64_t *size, bool *is_device);
/* Bytes of the range that are in the page cache; -1 if unknown. */
int64_t xensave_resident(int fd, uint64_t offset, uint64_t length);
/*
 * Starts writing a range back, or waits until it is written.  The kernel
 * tells a descriptor of an error once: after -1 an fsync may return 0.
 */
int xensave_sync_range(int fd, uint64_t offset, uint64_t length, bool wait);

/* ---- engine.c: memory to read into and write from ---------------------------------------------------------- */

struct xensave_buffers {
    uint8_t *base;
    size_t length; /* mapped */
    size_t size;   /* of one buffer */
    uint32_t count;
    bool huge_pages;
};

int xensave_buffers_alloc(struct xensave_buffers *buffers, uint32_t count,
                          size_t size, struct xensave_error *error);
void xensave_buffers_free(struct xensave_buffers *buffers);

/* ---- sink.c ------------------------------------------------------------- */

struct xensave_sink_ops {
    /* Contiguous room for at least one and at most `want` bytes. */
    void *(*space)(struct xensave_sink *sink, size_t want, size_t *got);
    /* `length` bytes of the room have been filled. */
    void (*advance)(struct xensave_sink *sink, size_t length);
    /* The held bytes may go. */
    int (*release)(struct xensave_sink *sink);
    /* Rewrites bytes behind the hold; they are still in memory. */
    void (*patch)(struct xensave_sink *sink, uint64_t offset, const void *data,
                  size_t length);
    /* NULL, or bytes that are on their way: the device is not idle yet. */
    uint64_t (*pending)(struct xensave_sink *sink);
    /* NULL, or whether what is at the offset is zero without a write. */
    bool (*can_skip)(const struct xensave_sink *sink);
    /* Whole blocks, at a multiple of the alignment. */
    int (*skip)(struct xensave_sink *sink, uint64_t length);
    /* NULL, or see xensave_sink_settle. */
    int (*settle)(struct xensave_sink *sink);
    int (*finish)(struct xensave_sink *sink);
    int (*rewrite)(struct xensave_sink *sink, uint64_t offset,
                   const void *data, size_t length);
    void (*state)(const struct xensave_sink *sink,
                  struct xensave_io_state *state);
    void (*free)(struct xensave_sink *sink);
};

/*
 * What must stay in memory between hold and release: one batch, its headers
 * and padding, in the worst alignment.
 */
#define XENSAVE_HOLD_MAX                                   \
    (XENSAVE_BATCH_MAX * (XENSAVE_V2_PAGE_SIZE + 8 + 12) + \
     3 * XENSAVE_ALIGNMENT_MAX)

/* A hole that is smaller costs more in extents than its zeros would. */
#define XENSAVE_HOLE_MIN 16384U

struct xensave_sink {
    const struct xensave_sink_ops *ops;
    struct xensave_error *error;
    uint64_t offset;    /* file offset of the next byte */
    uint64_t hold;      /* first held byte, UINT64_MAX for none */
    uint32_t alignment; /* for page contents */
    bool rewritable;
    bool finished;
};

void xensave_sink_init(struct xensave_sink *sink,
                       const struct xensave_sink_ops *ops,
                       struct xensave_error *error);
void xensave_sink_hold(struct xensave_sink *sink);
int xensave_sink_release(struct xensave_sink *sink);
/* Ends the hold and writes over bytes from `offset`, which it covers. */
int xensave_sink_patch(struct xensave_sink *sink, uint64_t offset,
                       const void *data, size_t length);
int xensave_sink_zeros(struct xensave_sink *sink, size_t length);
/*
 * Where there may be an earlier save (a device, a file that is not empty),
 * what has been written so far, and zeros behind it, are on stable storage
 * before anything else is: spec 5 step 1.
 */
int xensave_sink_settle(struct xensave_sink *sink);
#define XENSAVE_SETTLED_ZEROS 144U /* ALIGNED_HEADER with its record header */

/* ---- source.c ----------------------------------------------------------- */

struct xensave_source_ops {
    int (*read)(struct xensave_source *source, void *data, size_t length);
    int (*skip)(struct xensave_source *source, uint64_t length);
    /* NULL, or nothing from that offset on will be asked for. */
    void (*limit)(struct xensave_source *source, uint64_t end);
    int (*finish)(struct xensave_source *source);
    void (*state)(const struct xensave_source *source,
                  struct xensave_io_state *state);
    void (*free)(struct xensave_source *source);
};

struct xensave_source {
    const struct xensave_source_ops *ops;
    struct xensave_error *error;
    uint64_t offset;
    bool ready; /* all of it is there: a read does not wait for a writer */
};

/* errnum ENODATA, in one wording for every source. */
int xensave_source_ended(struct xensave_source *source);
struct xensave_source *xensave_source_open_cached(int fd, bool drop_behind,
                                                  struct xensave_error *error);

#endif /* XENSAVE_IO_H */
