/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <unistd.h>

#include "savefile.h"

#define PART XENSAVE_ALIGNMENT_MAX

static bool read_direct(struct xensave_reader *reader, size_t need,
                        uint64_t at)
{
    size_t done = 0;
    ssize_t r;

    while (reader->direct >= 0 && done < need) {
        r = pread(reader->direct, reader->bytes + done,
                  round_up(need, reader->alignment) - done, at + done);
        if (r <= 0 || (done + r < need && r % reader->alignment)) {
            close(reader->direct);
            reader->direct = -1;
            return false;
        }
        done += r;
    }
    return reader->direct >= 0;
}

static int read_part(struct xensave_reader *reader, size_t need, uint64_t at)
{
    bool cached = reader->tidy && xensave_resident(reader->fd, at, need) > 0;
    bool direct = read_direct(reader, need, at);

    if (!direct && pread_exact(reader->fd, reader->bytes, need, at))
        return -1;
    if (!cached && (reader->tidy || !direct))
        posix_fadvise(reader->fd, at, need, POSIX_FADV_DONTNEED);
    return 0;
}

const uint8_t *xensave_reader_look(struct xensave_reader *reader,
                                   uint64_t offset, size_t length)
{
    uint64_t at = round_down(offset, reader->alignment);
    size_t need = offset - at + length,
           room = round_up(need, reader->alignment);
    int r;

    if (reader->size < room) {
        free(reader->bytes);
        reader->size = 0;
        r = posix_memalign((void **)&reader->bytes, XENSAVE_ALIGNMENT_MAX,
                           room);
        if (r) {
            reader->bytes = NULL;
            errno = r;
            return NULL;
        }
        reader->size = room;
    }
    return read_part(reader, need, at) ? NULL : reader->bytes + (offset - at);
}

int xensave_reader_checksum(struct xensave_reader *reader,
                            struct xensave_checksum *checksum, uint64_t *at,
                            uint64_t end)
{
    const uint8_t *bytes;
    uint64_t next;

    for (; *at < end; *at = next) {
        next = min_u64(round_down(*at, PART) + PART, end);
        bytes = xensave_reader_look(reader, *at, next - *at);
        if (!bytes)
            return -1;
        xensave_checksum_add(checksum, bytes, next - *at);
    }
    return 0;
}

void xensave_reader_init(struct xensave_reader *reader, int fd, bool tidy)
{
    *reader = (struct xensave_reader){ .fd = fd, .direct = -1, .tidy = tidy };
    reader->alignment = xensave_direct_alignment(fd);
    if (reader->alignment)
        reader->direct = fd_reopen(fd, O_RDONLY | O_DIRECT);
    else
        reader->alignment = XENSAVE_ALIGNMENT_MIN;
}

void xensave_reader_close(struct xensave_reader *reader)
{
    if (reader->direct >= 0)
        close(reader->direct);
    free(reader->bytes);
    reader->bytes = NULL;
    reader->size = 0;
}
