/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the buffers of a file sink reach the file; the table is at the end. */
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sink_file.h"

#define WINDOW_SIZE (8U << 20)

#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x80
#endif

int xensave_manner_failed(struct file_sink *file, int errnum, uint64_t offset)
{
    return xensave_fail(file->sink.error, errnum,
                        "cannot write to %s at offset %llu: %s", file->io.name,
                        (unsigned long long)offset, strerror(errnum));
}

int xensave_manner_write_cached(struct file_sink *file, uint64_t number,
                                uint32_t begin, uint32_t end)
{
    uint64_t offset = buffer_of(file, number)->offset + begin;
    struct iovec iov = { memory_of(&file->io, number) + begin, end - begin };
    ssize_t r;

    while (file->dontcache && iov.iov_len) {
        r = pwritev2(file->io.fd, &iov, 1, offset, RWF_DONTCACHE);
        if (r > 0) {
            iov.iov_base = (char *)iov.iov_base + r;
            iov.iov_len -= r;
            offset += r;
        } else if (!r || errno != EINTR) {
            file->dontcache = false;
        }
    }
    if (pwrite_exact(file->io.fd, iov.iov_base, iov.iov_len, offset))
        return xensave_manner_failed(file, errno, offset);
    return 0;
}

/* ---- direct ------------------------------------------------------------- */

/* The part of a buffer that whole blocks make up. */
static void direct_part(const struct file_sink *file, const struct buffer *b,
                        uint32_t *begin, uint32_t *end)
{
    *begin = round_up(b->begin, file->sink.alignment);
    *end = round_down(b->end, file->sink.alignment);
    if (*begin > *end)
        *begin = *end;
}

static int direct_submit(struct file_sink *file, uint64_t number)
{
    struct buffer *b = buffer_of(file, number);
    struct xensave_transfer transfer = { .write = true };
    uint32_t begin, end;
    int r;

    direct_part(file, b, &begin, &end);
    begin += b->done;
    transfer.buffer = number % file->io.buffers.count;
    transfer.data = memory_of(&file->io, number) + begin;
    transfer.length = end - begin;
    transfer.offset = b->offset + begin;
    r = file->io.engine->ops->submit(file->io.engine, &transfer);
    if (r)
        return xensave_manner_failed(file, r, transfer.offset);
    b->number = number;
    b->busy = true;
    return 0;
}

static int direct_put(struct file_sink *file, uint64_t number)
{
    struct buffer *b = buffer_of(file, number);
    uint32_t begin, end;

    direct_part(file, b, &begin, &end);
    b->done = 0;
    if (begin == end)
        return xensave_manner_write_cached(file, number, b->begin, b->end);
    if (b->begin < begin &&
        xensave_manner_write_cached(file, number, b->begin, begin))
        return -1;
    if (end < b->end && xensave_manner_write_cached(file, number, end, b->end))
        return -1;
    return direct_submit(file, number);
}

/*
 * Some filesystems accept O_DIRECT and go through the page cache all the
 * same (ext4 with journalled data): look once, and treat them as what they
 * are.
 */
static void look_for_silent_caching(struct file_sink *file, uint64_t offset,
                                    uint32_t length)
{
    if (file->fell_back_checked || !file->may_fall_back)
        return;
    file->fell_back_checked = true;
    if (xensave_resident(file->io.direct_fd, offset, length) > 0)
        file->manner = &xensave_manner_window;
}

int xensave_manner_completed(struct file_sink *file, uint32_t index,
                             int result)
{
    struct buffer *b = &file->buffer[index];
    uint64_t number = b->number, offset;
    uint32_t begin, end;

    direct_part(file, b, &begin, &end);
    offset = b->offset + begin + b->done;
    if (result == -EINVAL && file->may_fall_back) {
        file->manner = &xensave_manner_window;
        b->busy = false;
        return xensave_manner_write_cached(file, number, begin + b->done, end);
    }
    if (result == -EAGAIN || result == -EINTR)
        return direct_submit(file, number);
    if (result < 0)
        return xensave_manner_failed(file, -result, offset);
    if (result)
        look_for_silent_caching(file, offset, result);
    b->done += result;
    if (begin + b->done < end) {
        /* Only whole blocks can be resumed directly. */
        b->done = round_down(b->done, file->sink.alignment);
        if ((uint32_t)result >= file->sink.alignment)
            return direct_submit(file, number);
        /* At a limit or a device's end: the page cache takes what fits. */
        b->busy = false;
        return xensave_manner_write_cached(file, number, begin + b->done, end);
    }
    b->busy = false;
    return 0;
}

int xensave_manner_reap(struct file_sink *file)
{
    uint32_t index;
    int result;

    if (!file->io.engine->ops->reap(file->io.engine, true, &index, &result)) {
        file->io.engine->busy = 0;
        return xensave_fail(file->sink.error, EIO,
                            "lost an asynchronous write to %s", file->io.name);
    }
    return xensave_manner_completed(file, index, result);
}

/* ---- window and buffered ------------------------------------------------ */

static int buffered_put(struct file_sink *file, uint64_t number)
{
    struct buffer *b = buffer_of(file, number);

    return xensave_manner_write_cached(file, number, b->begin, b->end);
}

int xensave_manner_drop_before(struct file_sink *file, uint64_t offset)
{
    if (offset <= file->dropped)
        return 0;
    if (xensave_sync_range(file->io.fd, file->dropped, offset - file->dropped,
                           true))
        return xensave_manner_failed(file, errno, file->dropped);
    posix_fadvise(file->io.fd, file->dropped, offset - file->dropped,
                  POSIX_FADV_DONTNEED);
    file->dropped = offset;
    return 0;
}

static int window_put(struct file_sink *file, uint64_t number)
{
    struct buffer *b = buffer_of(file, number);
    uint64_t offset = buffer_offset(&file->io, number);

    if (buffered_put(file, number))
        return -1;
    if (xensave_sync_range(file->io.fd, offset + b->begin, b->end - b->begin,
                           false))
        return xensave_manner_failed(file, errno, offset + b->begin);
    return offset < WINDOW_SIZE
               ? 0
               : xensave_manner_drop_before(file, offset - WINDOW_SIZE);
}

const struct manner xensave_manner_direct = { XENSAVE_IO_DIRECT, direct_put };
const struct manner xensave_manner_window = { XENSAVE_IO_WINDOW, window_put };
const struct manner xensave_manner_buffered = { XENSAVE_IO_BUFFERED,
                                                buffered_put };
