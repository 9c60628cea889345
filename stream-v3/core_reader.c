/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <unistd.h>

#include "core_saved.h"

int v3_core_reader_open(struct v3_core_reader *reader, int fd,
                        struct v3_error *error)
{
    reader->alignment = v3_direct_alignment(fd);
    reader->fd = reader->alignment ? v3_reopen(fd, O_RDONLY | O_DIRECT) : -1;
    if (reader->fd >= 0)
        return 0;
    reader->alignment = 0;
    reader->fd = v3_reopen(fd, O_RDONLY);
    if (reader->fd < 0)
        return v3_fail(error, errno, "cannot open the file again: %s",
                       strerror(errno));
    posix_fadvise(reader->fd, 0, 0, POSIX_FADV_RANDOM);
    return 0;
}

void v3_core_reader_close(struct v3_core_reader *reader)
{
    if (reader->fd >= 0)
        close(reader->fd);
    reader->fd = -1;
}

static uint64_t start_of(const struct v3_core_reader *reader,
                         uint64_t offset)
{
    return reader->alignment ? round_down(offset, reader->alignment) : offset;
}

size_t v3_core_reader_room(const struct v3_core_reader *reader,
                           uint64_t offset, size_t length)
{
    uint64_t start = start_of(reader, offset);
    uint32_t alignment = reader->alignment ? reader->alignment
                                           : V3_ALIGNMENT_MIN;

    return round_up(offset + length - start, alignment);
}

uint8_t *v3_core_reader_read(struct v3_core_reader *reader, uint8_t *room,
                             uint64_t offset, size_t length,
                             struct v3_error *error)
{
    uint64_t start = start_of(reader, offset);
    size_t want = reader->alignment ? v3_core_reader_room(reader, offset,
                                                          length)
                                    : length;
    size_t least = offset + length - start, have = 0;
    ssize_t r;

    while (have < least) {
        r = pread(reader->fd, room + have, want - have, start + have);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0) {
            v3_fail_at(error, r ? errno : ENODATA, start + have, 0,
                       "cannot read the save file: %s",
                       r ? strerror(errno) : "it ends");
            return NULL;
        }
        /* Direct reads go on at whole blocks only. */
        if (reader->alignment && have + r < least)
            r = round_down(r, reader->alignment);
        have += r;
        if (!r)
            break;
    }
    if (have < least) {
        v3_fail_at(error, EIO, start + have, 0,
                   "cannot read the save file: it ends within a block");
        return NULL;
    }
    if (!reader->alignment)
        posix_fadvise(reader->fd, start, length, POSIX_FADV_DONTNEED);
    return room + (offset - start);
}
