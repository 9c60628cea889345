/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads through the descriptor itself: pipes, sockets, files that are in the
 * page cache already, and files that refuse direct I/O, whose pages are then
 * dropped behind the reader.
 */
#include <fcntl.h>
#include <unistd.h>

#include "io.h"

#define DROP_STEP (4U << 20)

struct cached_source {
    struct xensave_source source;
    int fd;
    char name[256];
    bool drop_behind;
    uint64_t dropped;
};

static void drop(struct cached_source *cached)
{
    posix_fadvise(cached->fd, cached->dropped,
                  cached->source.offset - cached->dropped,
                  POSIX_FADV_DONTNEED);
    cached->dropped = round_down(cached->source.offset, XENSAVE_V2_PAGE_SIZE);
}

static int cached_read(struct xensave_source *source, void *data,
                       size_t length)
{
    struct cached_source *cached = (struct cached_source *)source;
    ssize_t r;

    while (length) {
        r = read(cached->fd, data, length);
        if (r < 0 && errno == EINTR)
            continue;
        if (!r)
            return xensave_source_ended(source);
        if (r < 0)
            return xensave_fail(source->error, errno,
                                "cannot read from %s at offset %llu: %s",
                                cached->name,
                                (unsigned long long)source->offset,
                                strerror(errno));
        data = (char *)data + r;
        length -= r;
        source->offset += r;
    }
    if (cached->drop_behind && source->offset - cached->dropped >= DROP_STEP)
        drop(cached);
    return 0;
}

static int cached_skip(struct xensave_source *source, uint64_t length)
{
    char scratch[16384];
    size_t part;

    for (; length; length -= part) {
        part = min_u64(length, sizeof(scratch));
        if (cached_read(source, scratch, part))
            return -1;
    }
    return 0;
}

static int cached_finish(struct xensave_source *source)
{
    struct cached_source *cached = (struct cached_source *)source;

    /* The offset is where it belongs: nothing was read ahead. */
    if (cached->drop_behind)
        drop(cached);
    return 0;
}

static void cached_state(const struct xensave_source *source,
                         struct xensave_io_state *state)
{
    state->io = ((const struct cached_source *)source)->drop_behind
                    ? XENSAVE_IO_WINDOW
                    : XENSAVE_IO_BUFFERED;
}

static void cached_free(struct xensave_source *source)
{
    free(source);
}

static const struct xensave_source_ops cached_ops = {
    .read = cached_read,
    .skip = cached_skip,
    .finish = cached_finish,
    .state = cached_state,
    .free = cached_free,
};

struct xensave_source *xensave_source_open_cached(int fd, bool drop_behind,
                                                  struct xensave_error *error)
{
    struct cached_source *cached;
    off_t start;

    cached = calloc(1, sizeof(*cached));
    if (!cached) {
        xensave_fail(error, ENOMEM, "cannot allocate a source");
        return NULL;
    }
    start = lseek(fd, 0, SEEK_CUR);
    cached->source.ops = &cached_ops;
    cached->source.error = error;
    cached->source.offset = start > 0 ? start : 0;
    cached->fd = fd;
    cached->drop_behind = drop_behind;
    cached->dropped = round_down(cached->source.offset, XENSAVE_V2_PAGE_SIZE);
    fd_name(fd, cached->name, sizeof(cached->name));
    return &cached->source;
}

PUBLIC struct xensave_source *xensave_source_open_stream(
    int fd, struct xensave_error *error)
{
    memset(error, 0, sizeof(*error));
    return xensave_source_open_cached(fd, false, error);
}
