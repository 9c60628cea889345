/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs an xl whose progress is shown. */
#ifndef XL_CMDS_WATCHED_H
#define XL_CMDS_WATCHED_H

#include "progress.h"

/*
 * Its exit status, or 128 and the number of the signal that has ended it or
 * this program's wait for it.
 */
int run_watched(const struct guard_kind *kind, const char *progress,
                const char *done_word, const char *program, char **argv);

#endif /* XL_CMDS_WATCHED_H */
