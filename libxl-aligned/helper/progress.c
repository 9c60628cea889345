/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "progress.h"
#include "stream.h"

static struct v3_progress *progress;

void stream_progress_open(const char *path)
{
    progress = *path ? v3_progress_map(path) : NULL;
}

void stream_progress(const struct v3_totals *totals)
{
    if (!progress)
        return;
    atomic_store_explicit(&progress->done, totals->v2_bytes,
                          memory_order_relaxed);
    atomic_store_explicit(&progress->written, totals->bytes,
                          memory_order_relaxed);
}
