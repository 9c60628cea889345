/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine.h"

static const struct {
    enum v3_engine kind;
    struct v3_io_engine *(*open)(int fd, const struct v3_buffers *buffers);
} engines[] = {
    /* In the order in which "auto" tries them. */
    {V3_ENGINE_URING, v3_io_engine_uring},
    {V3_ENGINE_THREAD, v3_io_engine_thread},
};

struct v3_io_engine *v3_io_engine_open(enum v3_engine kind, int fd,
                                       const struct v3_buffers *buffers,
                                       struct v3_error *error)
{
    struct v3_io_engine *engine;

    for (size_t i = 0; i < ARRAY_SIZE(engines); i++) {
        if (kind != V3_ENGINE_AUTO && kind != engines[i].kind)
            continue;
        engine = engines[i].open(fd, buffers);
        if (engine) {
            engine->kind = engines[i].kind;
            return engine;
        }
    }
    v3_fail(error, errno, "cannot start I/O engine \"%s\": %s",
            v3_engine_name(kind), strerror(errno));
    return NULL;
}
