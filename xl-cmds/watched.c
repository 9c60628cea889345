/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "entries.h"
#include "watched.h"

int run_watched(const struct guard_kind *kind, const char *progress,
                const char *done_word, const char *program, char **argv)
{
    struct guard_result result;
    struct progress *shown;
    struct guard guard;
    int r;

    guard_begin(&guard, kind);
    shown = progress_begin(progress, done_word, &guard);
    r = guard_run(&guard, program, argv, &result);
    progress_end(shown, r == 0 && result.status == STATUS_OK);
    if (result.killed)
        entries_sweep();
    if (!result.interrupt)
        return result.status;
    if (result.status != STATUS_OK)
        return 128 + result.interrupt;
    report("too late to end it: it is complete");
    return STATUS_OK;
}
