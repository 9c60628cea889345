/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shows the progress of a save, restore or dump while xl runs. */
#ifndef XL_CMDS_PROGRESS_H
#define XL_CMDS_PROGRESS_H

#include <stdio.h>

#include "operation/handoff.h"
#include "json.h"
#include "xl.h"

/* "bar", "plain", "json", "none"; NULL: a bar on a terminal, else none. */
struct progress;
#define PROGRESS_HELP \
    "  --progress=HOW         bar plain json none; a bar on a terminal\n"

#define PROGRESS_LONG_OPTION(value)                \
    {                                              \
        "progress", required_argument, NULL, value \
    }

/* NULL after a report of misuse. */
const char *progress_option(const struct command *self, const char *mode);
/* Whether something is to be shown. */
bool progress_wanted(const char *mode);
/*
 * To be called before xl runs: sets up the environment and `xl`.  NULL if
 * nothing is to be shown, or nothing can be.
 */
struct progress *progress_begin(const char *mode, struct xl *xl);
/* After xl has ended: the terminal is free again. */
void progress_stop(struct progress *progress);
/* `whole`: xl succeeded. */
void progress_end(struct progress *progress, bool whole);

/* ---- the page that plugin and helper update ----------------------------- */

/*
 * Of this process and, through XL_ALIGNED_PROGRESS, of the xl that it starts.
 * `*fd` must stay open: the path refers to it.  NULL with errno set.
 */
struct handoff *progress_page(int *fd);

/* How many passes were made over each range of memory; nothing if unknown. */
void passes_json(yajl_gen gen, const struct handoff *page);
void passes_print(FILE *file, const struct handoff *page);

/* ---- bar.c: progress as text -------------------------------------------- */

#define MIB (1024.0 * 1024)

struct figures {
    const char *phase;
    bool moving;          /* in the phase that `rate` applies to */
    uint64_t done, total; /* bytes; total 0: unknown */
    double rate;          /* bytes of `done` a second */
};

/* -1: unknown. 100 only after the end. */
int figures_percent(const struct figures *figures);
/* Seconds; -1: unknown. */
double figures_left(const struct figures *figures);
/* " 45 %  115 of 256 MiB  88 MiB/s  0:02 left" */
void figures_text(const struct figures *figures, char *text, size_t size);
/* The same after phase and bar, in at most `width` columns. */
void figures_bar(const struct figures *figures, int width, char *text,
                 size_t size);

/* "512 MiB of memory, 251 MiB of file, in 3.2 s, 160 MiB/s"; 0: unknown. */
void figures_ended(uint64_t done, uint64_t written, double seconds, char *text,
                   size_t size);

/* The keys that `status` and --progress=json share. */
void figures_json(yajl_gen gen, const struct figures *figures,
                  uint64_t written);

/* Columns of the terminal `fd`; 80 if unknown. */
int terminal_width(int fd);

#endif /* XL_CMDS_PROGRESS_H */
