/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the toolstack side knows of how far a save is. */
#include "internal.h"
#include "progress.h"

static struct v3_progress *progress;

/* To be handed on in one text with others: no separators, not long. */
const char *progress_path(void)
{
    const char *path = environment.progress;

    return path && strlen(path) < V3_PROGRESS_PATH && !strpbrk(path, ";=") ?
           path : NULL;
}

void progress_begin(uint64_t total)
{
    if (!progress)
        progress = v3_progress_map(progress_path());
    if (!progress)
        return;
    atomic_store(&progress->total, total);
    atomic_store(&progress->phase, V3_PROGRESS_MEMORY);
}

void progress_commit(void)
{
    if (progress)
        atomic_store(&progress->phase, V3_PROGRESS_COMMIT);
}
