/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fd.h"

/* Linux 6.3; without it, vm.memfd_noexec=2 refuses. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

void fd_path(int fd, char path[FD_PATH])
{
    snprintf(path, FD_PATH, "/proc/self/fd/%d", fd);
}

void fd_path_global(int fd, char path[FD_PATH])
{
    snprintf(path, FD_PATH, "/proc/%ld/fd/%d", (long)getpid(), fd);
}

int fd_reopen(int fd, int flags)
{
    char path[FD_PATH];

    fd_path(fd, path);
    return open(path, flags | O_CLOEXEC | O_NOCTTY);
}

int fd_read_name(int fd, char *name, size_t size)
{
    char path[FD_PATH];
    ssize_t r;

    fd_path(fd, path);
    r = readlink(path, name, size - 1);
    if (r >= 0)
        name[r] = '\0';
    return r;
}

void fd_name(int fd, char *name, size_t size)
{
    if (fd_read_name(fd, name, size) <= 0)
        snprintf(name, size, "descriptor %d", fd);
}

int pread_exact(int fd, void *data, size_t length, uint64_t offset)
{
    ssize_t r;

    while (length) {
        r = pread(fd, data, length, offset);
        if (r < 0 && errno == EINTR)
            continue;
        if (!r)
            errno = ENODATA;
        if (r <= 0)
            return -1;
        data = (char *)data + r;
        length -= r;
        offset += r;
    }
    return 0;
}

int pwrite_exact(int fd, const void *data, size_t length, uint64_t offset)
{
    ssize_t r;

    while (length) {
        r = pwrite(fd, data, length, offset);
        if (r < 0 && errno == EINTR)
            continue;
        if (!r)
            errno = ENOSPC;
        if (r <= 0)
            return -1;
        data = (const char *)data + r;
        length -= r;
        offset += r;
    }
    return 0;
}

int write_all(int fd, const void *data, size_t length)
{
    const char *at = data;
    ssize_t r;

    while (length) {
        r = write(fd, at, length);
        if (r < 0 && errno == EINTR)
            continue;
        if (!r)
            errno = ENOSPC;
        if (r <= 0)
            return -1;
        at += r;
        length -= r;
    }
    return 0;
}

int fd_shared_memory(const char *name, size_t length, char path[FD_PATH])
{
    const unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create(name, flags | MFD_NOEXEC_SEAL), errnum;

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, flags);
    if (fd >= 0 &&
        (ftruncate(fd, length) || fcntl(fd, F_ADD_SEALS, FD_SHARED_SEALS))) {
        errnum = errno;
        close(fd);
        errno = errnum;
        return -1;
    }
    fd_path_global(fd, path);
    return fd;
}
