/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A save file in memory: what the library asks about a file and reads from it
 * is answered here (--wrap), so that an execution costs hardly a system call.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "stream-v3/savefile/savefile.h"

int __wrap_fd_reopen(int fd, int flags);
uint32_t __wrap_xensave_direct_alignment(int fd);
int __wrap_xensave_file_size(int fd, uint64_t *size, bool *is_device);
void __wrap_fd_name(int fd, char *name, size_t length);
int64_t __wrap_xensave_resident(int fd, uint64_t offset, uint64_t length);
int __wrap_pread_exact(int fd, void *data, size_t length, uint64_t offset);
struct xensave_source *__wrap_xensave_source_open_file(
    int fd, const struct xensave_io_options *options,
    struct xensave_error *error);
int __wrap_posix_fadvise(int fd, off_t offset, off_t length, int advice);

static const uint8_t *file;
static size_t file_size, stream_start;

int fuzz_memory(const uint8_t *data, size_t size)
{
    static int fd = -1;

    /* Takes lseek() and close() of a copy, and nothing else is done to it. */
    if (fd < 0)
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    FUZZ_ASSERT(fd >= 0, NULL);
    file = data;
    file_size = size;
    stream_start = 0;
    fuzz_find_stream(data, size, &stream_start);
    return fd;
}

int __wrap_fd_reopen(int fd, int flags)
{
    (void)flags;
    return dup(fd);
}

uint32_t __wrap_xensave_direct_alignment(int fd)
{
    (void)fd;
    return 0;
}

int __wrap_xensave_file_size(int fd, uint64_t *size, bool *is_device)
{
    (void)fd;
    *size = file_size;
    *is_device = false;
    return 0;
}

void __wrap_fd_name(int fd, char *name, size_t length)
{
    (void)fd;
    strncpy(name, "memory", length);
}

int64_t __wrap_xensave_resident(int fd, uint64_t offset, uint64_t length)
{
    (void)fd;
    (void)offset;
    return length;
}

int __wrap_pread_exact(int fd, void *data, size_t length, uint64_t offset)
{
    (void)fd;
    if (offset <= file_size && length <= file_size - offset) {
        if (length)
            memcpy(data, file + offset, length);
        return 0;
    }
    errno = ENODATA;
    return -1;
}

/* All readers of the fuzz targets begin at the stream. */
struct xensave_source *__wrap_xensave_source_open_file(
    int fd, const struct xensave_io_options *options,
    struct xensave_error *error)
{
    (void)fd;
    (void)options;
    return xensave_source_open_memory(file + stream_start,
                                      file_size - stream_start, stream_start,
                                      error);
}

int __wrap_posix_fadvise(int fd, off_t offset, off_t length, int advice)
{
    (void)fd;
    (void)advice;
    FUZZ_ASSERT(offset >= 0 && length >= 0, NULL);
    return 0;
}
