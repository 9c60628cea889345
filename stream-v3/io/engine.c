/* SPDX-License-Identifier: LGPL-2.1-or-later */
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
