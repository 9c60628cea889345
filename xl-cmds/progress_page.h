/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The page in which plugin and helper say how far they are. */
#ifndef XL_CMDS_PROGRESS_PAGE_H
#define XL_CMDS_PROGRESS_PAGE_H

#include <stdio.h>

#include "operation/progress.h"
#include "json.h"

/*
 * Of this process and, through XL_ALIGNED_PROGRESS, of the xl that it starts.
 * `*fd` stays open: the path leads through it.  NULL: errno says why.
 */
struct progress_page *progress_page(int *fd);

/* How often each stretch of memory was gone through; nothing if unknown. */
void passes_json(yajl_gen gen, const struct progress_page *page);
void passes_print(FILE *file, const struct progress_page *page);

#endif /* XL_CMDS_PROGRESS_PAGE_H */
