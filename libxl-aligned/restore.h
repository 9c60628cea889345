/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a restore does besides calling libxl. */
#ifndef LIBXL_ALIGNED_RESTORE_H
#define LIBXL_ALIGNED_RESTORE_H

#include "runtime.h"

/*
 * helper.c: whether the save helper, started as libxl starts it, loads the
 * stream library.  -1 and one line in `why` if it does not; 0 also if this
 * cannot be determined.
 */
int helper_try(const struct runtime *runtime, char *why, size_t size);

/*
 * rescue.c: if the file of a failed restore was unlinked, gives its contents
 * the old name, or one beside it.  Returns where they are now (malloc), or
 * NULL if the file has not moved.
 */
char *rescue_file(int fd, xentoollog_logger *lg);

#endif /* LIBXL_ALIGNED_RESTORE_H */
