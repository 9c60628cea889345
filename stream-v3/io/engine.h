/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asynchronous transfers between one file and one set of buffers. */
#ifndef STREAM_V3_ENGINE_H
#define STREAM_V3_ENGINE_H

#include "stream-v3/internal.h"

struct v3_transfer {
    uint32_t buffer;            /* index; at most one transfer each */
    bool write;
    void *data;                 /* inside that buffer */
    uint32_t length;
    uint64_t offset;
};

struct v3_io_engine;

struct v3_io_engine_ops {
    /* 0 or an errno value. */
    int (*submit)(struct v3_io_engine *engine,
                  const struct v3_transfer *transfer);
    /*
     * The next completed transfer: its buffer, and its length or minus an
     * errno value.  False if there is none yet and `block` is not set.
     */
    bool (*reap)(struct v3_io_engine *engine, bool block, uint32_t *buffer,
                 int *result);
    void (*free)(struct v3_io_engine *engine);
};

struct v3_io_engine {
    const struct v3_io_engine_ops *ops;
    enum v3_engine kind;
    uint32_t busy;              /* submitted and not reaped */
};

/* Nothing may be in flight when an engine is freed. */
struct v3_io_engine *v3_io_engine_open(enum v3_engine kind, int fd,
                                       const struct v3_buffers *buffers,
                                       struct v3_error *error);
/* One constructor a kind: NULL with errno. */
struct v3_io_engine *v3_io_engine_uring(int fd,
                                        const struct v3_buffers *buffers);
struct v3_io_engine *v3_io_engine_thread(int fd,
                                         const struct v3_buffers *buffers);

#endif /* STREAM_V3_ENGINE_H */
