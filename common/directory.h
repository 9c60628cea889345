/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Directories that a privileged program writes to.
 */
#ifndef COMMON_DIRECTORY_H
#define COMMON_DIRECTORY_H

#include <stdbool.h>
#include <sys/stat.h>

/* Another user can create files in this open directory. */
bool directory_is_shared(int fd);

/* Opens a directory, for names alone if it may not be read.  -1 with errno. */
int directory_open_by(int at, const char *path);

/*
 * Opens the directory `path`, from the open directory `at` or AT_FDCWD on.
 * -1 with errno.  EPERM: a component is a symbolic link that another user may
 * have placed; it is not followed.
 */
int directory_open(int at, const char *path);

#endif /* COMMON_DIRECTORY_H */
