/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Aligned memory for direct I/O, on huge pages where there are any. */
#include <sys/mman.h>

#include "stream-v3/internal.h"

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
