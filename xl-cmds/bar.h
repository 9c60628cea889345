/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How far something is, as people read it. */
#ifndef XL_CMDS_BAR_H
#define XL_CMDS_BAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MIB (1024.0 * 1024)

struct figures {
    const char *phase;
    bool moving;          /* in the phase that `rate` is about */
    uint64_t done, total; /* bytes; total 0: not known */
    double rate;          /* bytes of `done` a second */
};

/* -1: not known.  100 is for what is over. */
int figures_percent(const struct figures *figures);
/* Seconds; -1: cannot be told. */
double figures_left(const struct figures *figures);
/* " 45 %  115 of 256 MiB  88 MiB/s  0:02 left" */
void figures_text(const struct figures *figures, char *text, size_t size);
/* The same behind phase and bar, in at most `width` columns. */
void figures_bar(const struct figures *figures, int width, char *text,
                 size_t size);

/* "512 MiB of memory, 251 MiB of file, in 3.2 s, 160 MiB/s"; 0: not known. */
void figures_ended(uint64_t done, uint64_t written, double seconds, char *text,
                   size_t size);

/* Columns of the terminal behind `fd`; 80 if it does not say. */
int terminal_width(int fd);

#endif /* XL_CMDS_BAR_H */
