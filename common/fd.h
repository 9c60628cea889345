/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Descriptors: the file behind one, its name, and whole reads and writes. */
#ifndef COMMON_FD_H
#define COMMON_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define FD_PATH 64U /* bytes of a path in /proc, NUL included */

/* A path that opens the file behind a descriptor of this process. */
void fd_path(int fd, char path[FD_PATH]);
/* The same for use by other processes. */
void fd_path_global(int fd, char path[FD_PATH]);
/*
 * A second open file description of the file behind `fd`, so that neither
 * flags nor offset are shared.  -1 with errno.
 */
int fd_reopen(int fd, int flags);
/* The name of the file behind `fd`.  Its length, or -1 with errno. */
int fd_read_name(int fd, char *name, size_t size);
/* The same for messages: "descriptor N" if the name cannot be read. */
void fd_name(int fd, char *name, size_t size);

/* The same file: device and inode. */
static inline bool stat_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* All of `length`, or -1 with errno: ENODATA at the end of the file. */
int pread_exact(int fd, void *data, size_t length, uint64_t offset);
int pwrite_exact(int fd, const void *data, size_t length, uint64_t offset);
int write_all(int fd, const void *data, size_t length);

/*
 * Zero-filled memory to share.  `path` opens it while the descriptor is open.
 * -1 with errno.  The seals keep a peer from shrinking it, after which an
 * access would raise SIGBUS.
 */
#define FD_SHARED_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
int fd_shared_memory(const char *name, size_t length, char path[FD_PATH]);

#endif /* COMMON_FD_H */
