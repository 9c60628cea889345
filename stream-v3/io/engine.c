/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/mman.h>
#include <unistd.h>

#include "engine.h"

/* ---- buffers: aligned, on huge pages where there are any ---------------- */

#define HUGE_PAGE (2UL << 20)

static void *map(size_t length, int flags)
{
    return mmap(NULL, length, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

int xensave_buffers_alloc(struct xensave_buffers *buffers, uint32_t count,
                          size_t size, struct xensave_error *error)
{
    size_t length = round_up((size_t)count * size, HUGE_PAGE);
    uint8_t *base, *aligned;

    base = map(length, MAP_HUGETLB);
    buffers->huge_pages = base != MAP_FAILED;
    if (base == MAP_FAILED) {
        /* Room to start on a huge page, so that one can back it. */
        base = map(length + HUGE_PAGE, 0);
        if (base == MAP_FAILED)
            return xensave_fail(error, errno,
                                "cannot allocate %zu bytes of I/O buffers: %s",
                                length, strerror(errno));
        aligned = (uint8_t *)round_up((uintptr_t)base, HUGE_PAGE);
        if (aligned > base)
            munmap(base, aligned - base);
        munmap(aligned + length, base + HUGE_PAGE - aligned);
        base = aligned;
        buffers->huge_pages = !madvise(base, length, MADV_HUGEPAGE);
    }
    /*
     * A daemon that forks while the device reads or writes them would have
     * them copied for a child that only starts another program.
     */
    madvise(base, length, MADV_DONTFORK);
    buffers->base = base;
    buffers->length = length;
    buffers->size = size;
    buffers->count = count;
    return 0;
}

void xensave_buffers_free(struct xensave_buffers *buffers)
{
    if (buffers->base)
        munmap(buffers->base, buffers->length);
    buffers->base = NULL;
}

/* ---- engines ------------------------------------------------------------ */

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
