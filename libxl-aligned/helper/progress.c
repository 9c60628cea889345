/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "operation/progress_page.h"
#include "stream.h"

static struct progress_page *progress;

void stream_progress_open(const char *path)
{
    progress = *path ? progress_page_map(path) : NULL;
}

void stream_progress(const struct xensave_totals *totals,
                     const struct xensave_passes *passes)
{
    uint32_t i;

    if (!progress)
        return;
    for (i = 0; i < passes->count; i++)
        atomic_store_explicit(&progress->pass_pages[i], passes->pages[i],
                              memory_order_relaxed);
    atomic_store_explicit(&progress->passes, passes->count,
                          memory_order_release);
    atomic_store_explicit(&progress->done, totals->v2_bytes,
                          memory_order_relaxed);
    atomic_store_explicit(&progress->written, totals->bytes,
                          memory_order_relaxed);
}

void stream_progress_read(const struct xensave_totals *totals, bool ended)
{
    if (!progress)
        return;
    atomic_store_explicit(&progress->done, totals->v2_bytes,
                          memory_order_relaxed);
    atomic_store_explicit(&progress->written, totals->bytes,
                          memory_order_relaxed);
    if (ended)
        atomic_store(&progress->phase, PROGRESS_DEVICES);
}
