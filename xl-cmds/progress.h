/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shows how far a save is while xl runs. */
#ifndef XL_CMDS_PROGRESS_H
#define XL_CMDS_PROGRESS_H

#include "guard.h"

/* "bar", "plain", "json", "none"; NULL: a bar on a terminal, else none. */
struct progress;

/* NULL after a report of misuse. */
bool progress_mode_known(const char *mode);
/*
 * Sets up what the environment of xl and `guard` need.  NULL: nothing is to
 * be shown, or nothing can be.
 */
struct progress *progress_begin(const char *mode, struct guard *guard);
/* `whole`: the save succeeded. */
void progress_end(struct progress *progress, bool whole);

#endif /* XL_CMDS_PROGRESS_H */
