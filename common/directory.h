/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a privileged program writes, and who else has a say in it.
 */
#ifndef COMMON_DIRECTORY_H
#define COMMON_DIRECTORY_H

#include <stdbool.h>
#include <sys/stat.h>

/* Somebody else can place names in this open directory. */
bool directory_is_shared(int fd);

/* Opens a directory, for names alone if it may not be read.  -1 with errno. */
int directory_open_by(int at, const char *path);

/*
 * Opens the directory `path`, from the open directory `at` or AT_FDCWD on.
 * -1 with errno.  EPERM: a part of it is a symbolic link that somebody else
 * may have placed; it is not followed, as it could lead anywhere.
 */
int directory_open(int at, const char *path);

#endif /* COMMON_DIRECTORY_H */
