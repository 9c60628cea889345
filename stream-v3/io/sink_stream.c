/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pipes and sockets: bytes in order, which cannot be rewritten. */
#include <unistd.h>

#include "io.h"

#define STREAM_BUFFER (XENSAVE_HOLD_MAX + (2U << 20))
#define STREAM_FLUSH  (1U << 20)

struct stream_sink {
    struct xensave_sink sink;
    int fd;
    struct xensave_buffers buffers;
    size_t used;
};

static int stream_flush(struct stream_sink *stream)
{
    const uint8_t *data = stream->buffers.base;
    size_t length = stream->used;
    ssize_t r;

    while (length) {
        r = write(stream->fd, data, length);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return xensave_fail_at(stream->sink.error, r ? errno : EIO,
                                   stream->sink.offset - length, 0,
                                   "cannot write to the stream: %s",
                                   strerror(r ? errno : EIO));
        data += r;
        length -= r;
    }
    stream->used = 0;
    return 0;
}

static void *stream_space(struct xensave_sink *sink, size_t want, size_t *got)
{
    struct stream_sink *stream = (struct stream_sink *)sink;
    size_t space = stream->buffers.length - stream->used;

    if (sink->hold == UINT64_MAX && stream->used >= STREAM_FLUSH) {
        if (stream_flush(stream))
            return NULL;
        space = stream->buffers.length;
    }
    if (!space) {
        xensave_fail(sink->error, EOVERFLOW, "batch larger than %u bytes",
                     XENSAVE_HOLD_MAX);
        return NULL;
    }
    *got = min_u64(want, space);
    return stream->buffers.base + stream->used;
}

static void stream_advance(struct xensave_sink *sink, size_t length)
{
    struct stream_sink *stream = (struct stream_sink *)sink;

    stream->used += length;
    sink->offset += length;
}

static int stream_release(struct xensave_sink *sink)
{
    struct stream_sink *stream = (struct stream_sink *)sink;

    return stream->used >= STREAM_FLUSH ? stream_flush(stream) : 0;
}

static void stream_patch(struct xensave_sink *sink, uint64_t offset,
                         const void *data, size_t length)
{
    struct stream_sink *stream = (struct stream_sink *)sink;

    memcpy(stream->buffers.base + (stream->used - (sink->offset - offset)),
           data, length);
}

static int stream_finish(struct xensave_sink *sink)
{
    return stream_flush((struct stream_sink *)sink);
}

static void stream_state(const struct xensave_sink *sink,
                         struct xensave_io_state *state)
{
    state->io = XENSAVE_IO_BUFFERED;
    state->huge_pages = ((const struct stream_sink *)sink)->buffers.huge_pages;
}

static void stream_free(struct xensave_sink *sink)
{
    struct stream_sink *stream = (struct stream_sink *)sink;

    xensave_buffers_free(&stream->buffers);
    free(stream);
}

static const struct xensave_sink_ops stream_ops = {
    .space = stream_space,
    .advance = stream_advance,
    .release = stream_release,
    .patch = stream_patch,
    .finish = stream_finish,
    .state = stream_state,
    .free = stream_free,
};

PUBLIC struct xensave_sink *xensave_sink_open_stream(
    int fd, struct xensave_error *error)
{
    struct stream_sink *stream;

    memset(error, 0, sizeof(*error));
    stream = calloc(1, sizeof(*stream));
    if (!stream) {
        xensave_fail(error, ENOMEM, "cannot allocate a sink");
        return NULL;
    }
    xensave_sink_init(&stream->sink, &stream_ops, error);
    stream->fd = fd;
    if (xensave_buffers_alloc(&stream->buffers, 1, STREAM_BUFFER, error)) {
        free(stream);
        return NULL;
    }
    return &stream->sink;
}
