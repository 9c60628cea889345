/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Preloaded: filesystems that share or copy ranges of files in other ways
 * than the one that is here.
 *
 * SHARE_CLONE=no       cloning is refused
 * SHARE_COPY=no        copying is refused
 * SHARE_COPY=server    copying does not go through the page cache here
 * SHARE_COPY=full      no space is left after 256 KiB of it
 * SHARE_LOG=FILE       "clone LENGTH" or "copy LENGTH", a line a call
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/fd.h"

static int is(const char *name, const char *value)
{
    const char *set = getenv(name);

    return set && !strcmp(set, value);
}

static void note(const char *what, unsigned long long length)
{
    const char *name = getenv("SHARE_LOG");
    FILE *file = name ? fopen(name, "a") : NULL;

    if (!file)
        return;
    fprintf(file, "%s %llu\n", what, length);
    fclose(file);
}

int ioctl(int fd, unsigned long request, ...)
{
    int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    va_list list;
    void *argument;
    int r;

    va_start(list, request);
    argument = va_arg(list, void *);
    va_end(list);
    if (request == FICLONERANGE && is("SHARE_CLONE", "no")) {
        errno = EOPNOTSUPP;
        return -1;
    }
    r = real(fd, request, argument);
    if (!r && request == FICLONERANGE)
        note("clone", ((struct file_clone_range *)argument)->src_length);
    return r;
}

static ssize_t copy_as_server(int in, loff_t *from, int out, loff_t *to,
                              size_t length)
{
    static void *buffer;
    const size_t most = 1 << 20;
    ssize_t r = -1;

    if (!buffer && posix_memalign(&buffer, 4096, most))
        return -1;
    in = fd_reopen(in, O_RDONLY | O_DIRECT);
    out = fd_reopen(out, O_RDWR | O_DIRECT);
    if (in >= 0 && out >= 0)
        r = pread(in, buffer, length < most ? length : most, *from);
    if (r > 0)
        r = pwrite(out, buffer, r, *to);
    if (r > 0) {
        *from += r;
        *to += r;
    }
    close(in);
    close(out);
    return r;
}

ssize_t copy_file_range(int in, loff_t *from, int out, loff_t *to,
                        size_t length, unsigned int flags)
{
    static uint64_t copied;
    ssize_t (*real)(int, loff_t *, int, loff_t *, size_t,
                    unsigned int) = dlsym(RTLD_NEXT, "copy_file_range");
    ssize_t r;

    if (is("SHARE_COPY", "no")) {
        errno = EXDEV;
        return -1;
    }
    if (is("SHARE_COPY", "full") && copied > 256 << 10) {
        errno = ENOSPC;
        return -1;
    }
    r = is("SHARE_COPY", "server") || is("SHARE_COPY", "full")
            ? copy_as_server(in, from, out, to, length)
            : real(in, from, out, to, length, flags);
    if (r > 0) {
        copied += r;
        note("copy", r);
    }
    return r;
}
