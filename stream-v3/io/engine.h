/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asynchronous transfers between one file and one set of buffers. */
#ifndef XENSAVE_ENGINE_H
#define XENSAVE_ENGINE_H

#include "io.h"

struct xensave_transfer {
    uint32_t buffer; /* index; at most one transfer each */
    bool write;
    void *data; /* inside that buffer */
    uint32_t length;
    uint64_t offset;
};

struct xensave_io_engine;

struct xensave_io_engine_ops {
    /* 0 or an errno value. */
    int (*submit)(struct xensave_io_engine *engine,
                  const struct xensave_transfer *transfer);
    /*
     * The next completed transfer: its buffer, and its length or minus an
     * errno value.  False if there is none yet and `block` is not set.
     */
    bool (*reap)(struct xensave_io_engine *engine, bool block,
                 uint32_t *buffer, int *result);
    void (*free)(struct xensave_io_engine *engine);
};

struct xensave_io_engine {
    const struct xensave_io_engine_ops *ops;
    enum xensave_engine kind;
    uint32_t busy; /* submitted and not reaped */
};

/* Nothing may be in flight when an engine is freed. */
struct xensave_io_engine *xensave_io_engine_open(
    enum xensave_engine kind, int fd, const struct xensave_buffers *buffers,
    struct xensave_error *error);
/* One constructor a kind: NULL with errno. */
struct xensave_io_engine *xensave_io_engine_uring(
    int fd, const struct xensave_buffers *buffers);
struct xensave_io_engine *xensave_io_engine_thread(
    int fd, const struct xensave_buffers *buffers);

/* What a file's sink and source have in common. */
struct xensave_file_io {
    int fd; /* the caller's */
    int direct_fd;
    char name[256];
    uint64_t base; /* file offset of buffer number 0 */
    struct xensave_buffers buffers;
    struct xensave_io_engine *engine;
};

/* Checks the size and allocates the buffers. */
int xensave_file_io_buffers(struct xensave_file_io *io, size_t size,
                            uint32_t count, struct xensave_error *error);
/* Nothing may be in flight. */
void xensave_file_io_free(struct xensave_file_io *io);
int xensave_file_io_seek(const struct xensave_file_io *io, uint64_t offset,
                         struct xensave_error *error);

static inline uint64_t buffer_offset(const struct xensave_file_io *io,
                                     uint64_t number)
{
    return io->base + number * io->buffers.size;
}

static inline uint8_t *memory_of(const struct xensave_file_io *io,
                                 uint64_t number)
{
    return io->buffers.base + number % io->buffers.count * io->buffers.size;
}

#endif /* XENSAVE_ENGINE_H */
