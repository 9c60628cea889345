/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a privileged program writes, and who else has a say in it.
 */
#ifndef STREAM_V3_DIRECTORY_H
#define STREAM_V3_DIRECTORY_H

#include <stdbool.h>
#include <sys/stat.h>

/* Somebody else can place names in this open directory. */
bool v3_directory_is_shared(int fd);

/*
 * Opens the directory `path`, from the open directory `at` or AT_FDCWD on.
 * -1 with errno.  EPERM: a part of it is a symbolic link that somebody else
 * may have placed; it is not followed, as it could lead anywhere.
 */
int v3_directory_open(int at, const char *path);

#endif /* STREAM_V3_DIRECTORY_H */
