/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the helper's library says: messages, and how far it is. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"
#include "operation/handoff.h"
#include "stream.h"

void stream_report(const char *fmt, ...)
{
    char *text;
    va_list al;

    va_start(al, fmt);
    text = text_message(fmt, al);
    va_end(al);
    fprintf(stderr, "libxl-aligned: %s\n", text ? text : "out of memory");
    free(text);
}

/* ---- progress ----------------------------------------------------------- */

static struct handoff *progress;

void stream_progress_open(const char *path)
{
    progress = *path ? handoff_map(path) : NULL;
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
