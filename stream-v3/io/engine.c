/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <unistd.h>

#include "engine.h"

static const struct {
    enum xensave_engine kind;
    struct xensave_io_engine *(*open)(int fd,
                                      const struct xensave_buffers *buffers);
} engines[] = {
    /* In the order in which "auto" tries them. */
    { XENSAVE_ENGINE_URING, xensave_io_engine_uring },
    { XENSAVE_ENGINE_THREAD, xensave_io_engine_thread },
};

struct xensave_io_engine *xensave_io_engine_open(
    enum xensave_engine kind, int fd, const struct xensave_buffers *buffers,
    struct xensave_error *error)
{
    struct xensave_io_engine *engine;

    for (size_t i = 0; i < ARRAY_SIZE(engines); i++) {
        if (kind != XENSAVE_ENGINE_AUTO && kind != engines[i].kind)
            continue;
        engine = engines[i].open(fd, buffers);
        if (engine) {
            engine->kind = engines[i].kind;
            return engine;
        }
    }
    xensave_fail(error, errno, "cannot start I/O engine \"%s\": %s",
                 xensave_engine_name(kind), strerror(errno));
    return NULL;
}

int xensave_file_io_buffers(struct xensave_file_io *io, size_t size,
                            uint32_t count, struct xensave_error *error)
{
    if (size % XENSAVE_ALIGNMENT_MAX)
        return xensave_fail(error, EINVAL,
                            "buffer size %zu is not a multiple of %u", size,
                            XENSAVE_ALIGNMENT_MAX);
    return xensave_buffers_alloc(&io->buffers, count, size, error);
}

void xensave_file_io_free(struct xensave_file_io *io)
{
    if (io->engine)
        io->engine->ops->free(io->engine);
    if (io->direct_fd >= 0)
        close(io->direct_fd);
    xensave_buffers_free(&io->buffers);
}

int xensave_file_io_seek(const struct xensave_file_io *io, uint64_t offset,
                         struct xensave_error *error)
{
    if (lseek(io->fd, offset, SEEK_SET) < 0)
        return xensave_fail(error, errno, "cannot seek in %s: %s", io->name,
                            strerror(errno));
    return 0;
}
