/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Regular files and block devices.  Bytes are collected in buffers, each of
 * which stands for one aligned range of the file, and go out in one of the
 * manners of sink_manner.c.  Blocks that are only partly ours (the first,
 * shared with the head, and the last, shared with the tail) go through the
 * caller's own fd, so that no block is ever owned by both the page cache and
 * direct I/O.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sink_file.h"

#define DEFAULT_BUFFER_SIZE (1U << 20)
#define DEFAULT_BUFFERS     16U

/* ---- the sink's operations ---------------------------------------------- */

static int put(struct file_sink *file, uint64_t number, uint32_t end)
{
    struct buffer *b = buffer_of(file, number);

    /* Nothing in it yet: it may still be on its way for an earlier number. */
    if (b->begin >= end)
        return 0;
    b->offset = buffer_offset(&file->io, number);
    b->end = end;
    return file->manner->put(file, number);
}

/* Every full buffer that is not held goes on its way. */
static int put_full(struct file_sink *file)
{
    uint64_t end = file_number(file,
                               min_u64(file->sink.offset, file->sink.hold));

    while (file->first_unput < end) {
        if (put(file, file->first_unput, file->io.buffers.size))
            return -1;
        file->first_unput++;
    }
    return 0;
}

static void *file_space(struct xensave_sink *sink, size_t want, size_t *got)
{
    struct file_sink *file = (struct file_sink *)sink;
    uint64_t number = file_number(file, sink->offset);
    size_t used = sink->offset - buffer_offset(&file->io, number);
    struct buffer *b = buffer_of(file, number);

    if (sink->error->text[0])
        return NULL;
    if (!used && put_full(file))
        return NULL;
    while (b->busy)
        if (xensave_manner_reap(file))
            return NULL;
    if (!used) {
        b->begin = 0;
        if (number - file->first_unput >= file->io.buffers.count) {
            xensave_fail(sink->error, EOVERFLOW,
                         "batch larger than the buffers");
            return NULL;
        }
    }
    *got = min_u64(want, file->io.buffers.size - used);
    return memory_of(&file->io, number) + used;
}

static void file_advance(struct xensave_sink *sink, size_t length)
{
    sink->offset += length;
}

static int file_release(struct xensave_sink *sink)
{
    return put_full((struct file_sink *)sink);
}

static void file_patch(struct xensave_sink *sink, uint64_t offset,
                       const void *data, size_t length)
{
    struct file_sink *file = (struct file_sink *)sink;
    size_t within, part;
    uint64_t number;

    for (; length; offset += part, length -= part) {
        number = file_number(file, offset);
        within = offset - buffer_offset(&file->io, number);
        part = min_u64(length, file->io.buffers.size - within);
        memcpy(memory_of(&file->io, number) + within, data, part);
        data = (const char *)data + part;
    }
}

/*
 * The buffer ends where the hole begins.  The next one stands for the stripe
 * that the end of the hole is in: from there on, buffer numbers stand for
 * other offsets.
 */
static int file_skip(struct xensave_sink *sink, uint64_t length)
{
    struct file_sink *file = (struct file_sink *)sink;
    uint64_t number = file_number(file, sink->offset);
    uint32_t used = sink->offset - buffer_offset(&file->io, number);
    struct buffer *b;

    if (put_full(file))
        return -1;
    if (used) {
        if (put(file, number, used))
            return -1;
        file->first_unput = ++number;
    }
    b = buffer_of(file, number);
    while (b->busy)
        if (xensave_manner_reap(file))
            return -1;
    sink->offset += length;
    file->io.base = round_down(sink->offset, file->io.buffers.size) -
                    number * file->io.buffers.size;
    b->begin = sink->offset - buffer_offset(&file->io, number);
    return 0;
}

static uint64_t file_pending(struct xensave_sink *sink)
{
    struct file_sink *file = (struct file_sink *)sink;
    uint32_t index;
    int result;

    while (file->io.engine && file->io.engine->busy &&
           file->io.engine->ops->reap(file->io.engine, false, &index, &result))
        if (xensave_manner_completed(file, index, result))
            break;
    return file->io.engine ? file->io.engine->busy * file->io.buffers.size : 0;
}

static bool file_can_skip(const struct xensave_sink *sink)
{
    const struct file_sink *file = (const struct file_sink *)sink;

    return sink->offset >= file->hole_from;
}

/* A hole at the end is bytes that no write has brought about. */
static int file_extend(struct file_sink *file)
{
    uint64_t size;
    bool is_device;

    if (file->hole_from == UINT64_MAX)
        return 0;
    if (xensave_file_size(file->io.fd, &size, &is_device) ||
        (size < file->sink.offset &&
         ftruncate(file->io.fd, file->sink.offset)))
        return xensave_fail(file->sink.error, errno, "cannot extend %s: %s",
                            file->io.name, strerror(errno));
    return 0;
}

static int file_drain(struct file_sink *file)
{
    int r = 0;

    while (file->io.engine && file->io.engine->busy)
        if (xensave_manner_reap(file))
            r = -1;
    return r;
}

static int file_finish(struct xensave_sink *sink)
{
    struct file_sink *file = (struct file_sink *)sink;
    uint64_t number = file_number(file, sink->offset);

    if (put_full(file))
        return -1;
    if (put(file, number, sink->offset - buffer_offset(&file->io, number)))
        return -1;
    if (file_drain(file))
        return -1;
    if (file_extend(file))
        return -1;
    if (file->manner == &xensave_manner_window &&
        xensave_manner_drop_before(file, round_down(sink->offset,
                                                    XENSAVE_V2_PAGE_SIZE)))
        return -1;
    return xensave_file_io_seek(&file->io, sink->offset, sink->error);
}

/*
 * Buffers go out in any order, and the page cache when it likes: pages could
 * be on the disk while what an earlier life of the file says of them is, too.
 */
static int file_settle(struct xensave_sink *sink)
{
    static const uint8_t zeros[XENSAVE_SETTLED_ZEROS];
    struct file_sink *file = (struct file_sink *)sink;
    uint64_t number = file_number(file, sink->offset);
    struct buffer *b = buffer_of(file, number);
    uint32_t used = sink->offset - buffer_offset(&file->io, number);

    if (!file->in_place)
        return 0;
    if (put_full(file) || file_drain(file))
        return -1;
    b->offset = buffer_offset(&file->io, number);
    if (used && xensave_manner_write_cached(file, number, b->begin, used))
        return -1;
    if (pwrite_exact(file->io.fd, zeros, sizeof(zeros), sink->offset) ||
        fdatasync(file->io.fd))
        return xensave_manner_failed(file, errno, sink->offset);
    return 0;
}

static int file_rewrite(struct xensave_sink *sink, uint64_t offset,
                        const void *data, size_t length)
{
    struct file_sink *file = (struct file_sink *)sink;

    if (pwrite_exact(file->io.fd, data, length, offset))
        return xensave_manner_failed(file, errno, offset);
    return 0;
}

static void file_state(const struct xensave_sink *sink,
                       struct xensave_io_state *state)
{
    const struct file_sink *file = (const struct file_sink *)sink;

    state->io = file->manner->io;
    state->engine = file->io.engine ? file->io.engine->kind
                                    : XENSAVE_ENGINE_AUTO;
    state->huge_pages = file->io.buffers.huge_pages;
}

static void file_free(struct xensave_sink *sink)
{
    struct file_sink *file = (struct file_sink *)sink;

    file_drain(file);
    xensave_file_io_free(&file->io);
    free(file->buffer);
    free(file);
}

static const struct xensave_sink_ops file_ops = {
    .space = file_space,
    .advance = file_advance,
    .release = file_release,
    .patch = file_patch,
    .pending = file_pending,
    .can_skip = file_can_skip,
    .skip = file_skip,
    .settle = file_settle,
    .finish = file_finish,
    .rewrite = file_rewrite,
    .state = file_state,
    .free = file_free,
};

/* ---- opening ------------------------------------------------------------ */

static int open_direct(struct file_sink *file,
                       const struct xensave_io_options *options)
{
    uint32_t alignment = xensave_direct_alignment(file->io.fd);

    if (!alignment) {
        errno = EINVAL;
        return -1;
    }
    file->io.direct_fd = fd_reopen(file->io.fd, O_RDWR | O_DIRECT);
    if (file->io.direct_fd < 0 && errno == EACCES)
        file->io.direct_fd = fd_reopen(file->io.fd, O_WRONLY | O_DIRECT);
    if (file->io.direct_fd < 0)
        return -1;
    file->sink.alignment = alignment;
    file->io.engine = xensave_io_engine_open(options->engine,
                                             file->io.direct_fd,
                                             &file->io.buffers,
                                             file->sink.error);
    return file->io.engine ? 0 : -1;
}

static int choose_manner(struct file_sink *file,
                         const struct xensave_io_options *options)
{
    file->manner = &xensave_manner_buffered;
    if (options->io == XENSAVE_IO_BUFFERED)
        return 0;
    file->manner = &xensave_manner_window;
    file->dontcache = true;
    if (options->io == XENSAVE_IO_WINDOW)
        return 0;
    file->may_fall_back = options->io == XENSAVE_IO_AUTO;
    if (!open_direct(file, options)) {
        file->manner = &xensave_manner_direct;
        file->dontcache = false;
        return 0;
    }
    if (file->sink.error->text[0])
        return -1;
    if (file->may_fall_back)
        return 0;
    return xensave_fail(file->sink.error, errno,
                        "%s does not take direct I/O: %s", file->io.name,
                        strerror(errno));
}

static int reserve(struct file_sink *file, uint64_t length)
{
    if (!length || !fallocate(file->io.fd, 0, file->sink.offset, length))
        return 0;
    if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
        return xensave_fail(file->sink.error, errno,
                            "%s: no room for %llu bytes: %s", file->io.name,
                            (unsigned long long)length, strerror(errno));
    /* Where space cannot be reserved, it will be found as it comes. */
    return 0;
}

/* Behind the end of a regular file there is nothing but zeros. */
static uint64_t hole_from(int fd)
{
    uint64_t size;
    bool is_device;

    return xensave_file_size(fd, &size, &is_device) || is_device ? UINT64_MAX
                                                                 : size;
}

static int file_open(struct file_sink *file,
                     const struct xensave_io_options *options)
{
    size_t size = options->buffer_size ? options->buffer_size
                                       : DEFAULT_BUFFER_SIZE;
    uint32_t count = options->buffers ? options->buffers : DEFAULT_BUFFERS;
    uint32_t least = XENSAVE_HOLD_MAX / size + 4;
    off_t start;

    start = lseek(file->io.fd, 0, SEEK_CUR);
    if (start < 0)
        return xensave_fail(file->sink.error, errno, "%s cannot seek: %s",
                            file->io.name, strerror(errno));
    file->sink.offset = start;
    count = count < least ? least : count;
    if (xensave_file_io_buffers(&file->io, size, count, file->sink.error))
        return -1;
    file->buffer = calloc(count, sizeof(*file->buffer));
    if (!file->buffer)
        return xensave_fail(file->sink.error, ENOMEM,
                            "cannot allocate a sink");
    if (choose_manner(file, options))
        return -1;
    /* Each write but the first begins where a stripe of that size does. */
    file->io.base = round_down(start, size);
    file->buffer[0].begin = start - file->io.base;
    file->dropped = round_down(start, file->sink.alignment);
    file->hole_from = hole_from(file->io.fd);
    file->in_place = file->hole_from > file->sink.offset;
    return reserve(file, options->reserve);
}

PUBLIC struct xensave_sink *xensave_sink_open_file(
    int fd, const struct xensave_io_options *options,
    struct xensave_error *error)
{
    struct xensave_io_options known;
    struct file_sink *file;

    memset(error, 0, sizeof(*error));
    file = calloc(1, sizeof(*file));
    if (!file) {
        xensave_fail(error, ENOMEM, "cannot allocate a sink");
        return NULL;
    }
    xensave_sink_init(&file->sink, &file_ops, error);
    file->sink.rewritable = true;
    file->io.fd = fd;
    file->io.direct_fd = -1;
    fd_name(fd, file->io.name, sizeof(file->io.name));
    if (xensave_options_copy(&known, sizeof(known), options, error) ||
        file_open(file, &known)) {
        file_free(&file->sink);
        return NULL;
    }
    return &file->sink;
}
