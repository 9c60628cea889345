/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Regular files and block devices, read directly and ahead.  Buffer number n
 * stands for the n-th aligned range of the file; reads are started as soon as
 * a buffer is free and never reach beyond the end of the file.
 */
#include <fcntl.h>
#include <unistd.h>

#include "engine.h"

#define DEFAULT_BUFFER_SIZE (1U << 20)
#define DEFAULT_BUFFERS     8U

struct buffer {
    uint64_t number;
    uint32_t want; /* bytes of it that the file has */
    uint32_t ask;  /* ... that are read now: all, until a read fails */
    uint32_t done; /* bytes read so far */
    int errnum;    /* why a read failed; it may never be needed */
    bool busy;
};

struct file_source {
    struct xensave_source source;
    struct xensave_file_io io;
    uint32_t alignment;
    uint64_t end;          /* of the file */
    uint64_t first, next;  /* buffer numbers that are held or busy */
    struct buffer *buffer; /* number n lives in n % count */
};

static int read_failed(struct file_source *file, int errnum, uint64_t offset)
{
    return xensave_fail(file->source.error, errnum,
                        "cannot read from %s at offset %llu: %s",
                        file->io.name, (unsigned long long)offset,
                        strerror(errnum));
}

static int submit(struct file_source *file, struct buffer *b)
{
    struct xensave_transfer transfer = { .write = false };
    int r;

    transfer.buffer = b - file->buffer;
    transfer.data = memory_of(&file->io, b->number) + b->done;
    transfer.length = round_up(b->ask, file->alignment) - b->done;
    transfer.offset = buffer_offset(&file->io, b->number) + b->done;
    r = file->io.engine->ops->submit(file->io.engine, &transfer);
    if (r)
        return read_failed(file, r, transfer.offset);
    b->busy = true;
    return 0;
}

static int read_ahead(struct file_source *file)
{
    struct buffer *b;
    uint64_t offset;

    for (; file->next < file->first + file->io.buffers.count; file->next++) {
        offset = buffer_offset(&file->io, file->next);
        b = &file->buffer[file->next % file->io.buffers.count];
        if (offset >= file->end || b->busy)
            break;
        b->number = file->next;
        b->want = min_u64(file->io.buffers.size, file->end - offset);
        b->ask = b->want;
        b->done = 0;
        b->errnum = 0;
        if (submit(file, b))
            return -1;
    }
    return 0;
}

static int reap(struct file_source *file)
{
    uint32_t index;
    struct buffer *b;
    int result;

    if (!file->io.engine->ops->reap(file->io.engine, true, &index, &result)) {
        file->io.engine->busy = 0;
        return xensave_fail(file->source.error, EIO,
                            "lost an asynchronous read from %s",
                            file->io.name);
    }
    b = &file->buffer[index];
    b->busy = false;
    if (result == -EAGAIN || result == -EINTR)
        return submit(file, b);
    if (result < 0) {
        b->errnum = -result;
        return 0;
    }
    b->done += result;
    /* Less than a block is what there is: the file was cut meanwhile. */
    if (b->done >= b->ask || (uint32_t)result < file->alignment)
        return 0;
    /* Only whole blocks can be resumed directly. */
    b->done = round_down(b->done, file->alignment);
    return submit(file, b);
}

static int drain(struct file_source *file)
{
    int r = 0;

    while (file->io.engine && file->io.engine->busy)
        if (reap(file))
            r = -1;
    return r;
}

/* Makes `offset` the place to read from. */
static int move_to(struct file_source *file, uint64_t offset)
{
    uint64_t number = (offset - file->io.base) / file->io.buffers.size;

    file->source.offset = offset;
    if (number >= file->next) {
        if (drain(file))
            return -1;
        file->next = number;
    }
    file->first = number;
    return read_ahead(file);
}

/* Waits for buffer number `first`, which lies before the end of the file. */
static struct buffer *current(struct file_source *file)
{
    struct buffer *b = &file->buffer[file->first % file->io.buffers.count];

    /* The buffer may still be busy with a number that was skipped. */
    do {
        if (read_ahead(file) || (b->busy && reap(file)))
            return NULL;
    } while (b->busy || b->number != file->first || file->next <= file->first);
    return b;
}

/*
 * After a read that failed, the rest of a buffer is read block by block, so
 * that only a block that is needed can fail the caller.
 */
static int read_block(struct file_source *file, struct buffer *b,
                      uint32_t within)
{
    uint32_t block = round_down(within, file->alignment);

    if (b->errnum && b->done == block && b->ask - b->done <= file->alignment)
        return read_failed(file, b->errnum,
                           buffer_offset(&file->io, b->number) + block);
    b->done = block;
    b->ask = min_u64(b->want, block + file->alignment);
    b->errnum = 0;
    return submit(file, b);
}

static int file_read(struct xensave_source *source, void *data, size_t length)
{
    struct file_source *file = (struct file_source *)source;
    struct buffer *b;
    size_t within, part;

    while (length) {
        if (source->offset >= file->end)
            return xensave_source_ended(source);
        b = current(file);
        if (!b)
            return -1;
        within = source->offset - buffer_offset(&file->io, file->first);
        if (within >= b->done && (b->errnum || b->ask < b->want)) {
            if (read_block(file, b, within))
                return -1;
            continue;
        }
        if (within >= b->done)
            return xensave_source_ended(source);
        part = min_u64(length, min_u64(b->done, b->want) - within);
        memcpy(data, memory_of(&file->io, file->first) + within, part);
        data = (char *)data + part;
        length -= part;
        source->offset += part;
        if (within + part == file->io.buffers.size)
            file->first++;
    }
    return 0;
}

static int file_skip(struct xensave_source *source, uint64_t length)
{
    struct file_source *file = (struct file_source *)source;

    if (source->offset > file->end || length > file->end - source->offset)
        return xensave_source_ended(source);
    return move_to(file, source->offset + length);
}

static void file_limit(struct xensave_source *source, uint64_t end)
{
    struct file_source *file = (struct file_source *)source;

    if (end < file->end)
        file->end = end;
}

static int file_finish(struct xensave_source *source)
{
    struct file_source *file = (struct file_source *)source;

    return xensave_file_io_seek(&file->io, source->offset, source->error);
}

static void file_state(const struct xensave_source *source,
                       struct xensave_io_state *state)
{
    const struct file_source *file = (const struct file_source *)source;

    state->io = XENSAVE_IO_DIRECT;
    state->engine = file->io.engine->kind;
    state->alignment = file->alignment;
    state->huge_pages = file->io.buffers.huge_pages;
}

static void file_free(struct xensave_source *source)
{
    struct file_source *file = (struct file_source *)source;

    drain(file);
    xensave_file_io_free(&file->io);
    free(file->buffer);
    free(file);
}

static const struct xensave_source_ops file_ops = {
    .read = file_read,
    .skip = file_skip,
    .limit = file_limit,
    .finish = file_finish,
    .state = file_state,
    .free = file_free,
};

/*
 * A filesystem may refuse O_DIRECT when opened, refuse it when read, or take
 * it and fill the page cache all the same; one block read tells.
 */
static bool direct_works(struct file_source *file)
{
    int64_t before;
    bool works;
    void *block;

    file->alignment = xensave_direct_alignment(file->io.fd);
    if (!file->alignment)
        return false;
    file->io.direct_fd = fd_reopen(file->io.fd, O_RDONLY | O_DIRECT);
    if (file->io.direct_fd < 0 ||
        posix_memalign(&block, file->alignment, file->alignment))
        return false;
    file->io.base = round_down(file->source.offset, file->alignment);
    before = xensave_resident(file->io.fd, file->io.base,
                              XENSAVE_V2_PAGE_SIZE);
    works = pread(file->io.direct_fd, block, file->alignment, file->io.base) >
                0 &&
            (before || !xensave_resident(file->io.fd, file->io.base,
                                         XENSAVE_V2_PAGE_SIZE));
    free(block);
    return works;
}

static int file_open(struct file_source *file,
                     const struct xensave_io_options *options)
{
    size_t size = options->buffer_size ? options->buffer_size
                                       : DEFAULT_BUFFER_SIZE;
    uint32_t count = options->buffers ? options->buffers : DEFAULT_BUFFERS;

    if (xensave_file_io_buffers(&file->io, size, count, file->source.error))
        return -1;
    file->buffer = calloc(count, sizeof(*file->buffer));
    if (!file->buffer)
        return xensave_fail(file->source.error, ENOMEM,
                            "cannot allocate a source");
    file->io.engine = xensave_io_engine_open(options->engine,
                                             file->io.direct_fd,
                                             &file->io.buffers,
                                             file->source.error);
    return file->io.engine ? 0 : -1;
}

/* A file of which half is in memory already is read from there. */
static bool mostly_resident(const struct file_source *file)
{
    int64_t resident = xensave_resident(file->io.fd, file->source.offset,
                                        file->end - file->source.offset);

    return resident > 0 &&
           (uint64_t)resident * 2 >= file->end - file->source.offset;
}

static struct xensave_source *open_as(struct file_source *file,
                                      const struct xensave_io_options *options)
{
    struct xensave_error *error = file->source.error;
    struct xensave_source *source;
    int fd = file->io.fd;
    bool drop = options->io == XENSAVE_IO_WINDOW;

    if (options->io == XENSAVE_IO_AUTO && mostly_resident(file))
        goto cached;
    if (options->io == XENSAVE_IO_AUTO || options->io == XENSAVE_IO_DIRECT) {
        if (direct_works(file)) {
            if (!file_open(file, options))
                return &file->source;
            file_free(&file->source);
            return NULL;
        }
        if (options->io == XENSAVE_IO_DIRECT) {
            xensave_fail(error, EINVAL, "%s does not take direct I/O",
                         file->io.name);
            file_free(&file->source);
            return NULL;
        }
        drop = true;
    }
cached:
    file_free(&file->source);
    source = xensave_source_open_cached(fd, drop, error);
    if (source)
        source->ready = true;
    return source;
}

PUBLIC struct xensave_source *xensave_source_open_file(
    int fd, const struct xensave_io_options *options,
    struct xensave_error *error)
{
    struct xensave_io_options known;
    struct file_source *file;
    bool is_device;
    off_t start;

    memset(error, 0, sizeof(*error));
    file = calloc(1, sizeof(*file));
    if (!file) {
        xensave_fail(error, ENOMEM, "cannot allocate a source");
        return NULL;
    }
    file->source.ops = &file_ops;
    file->source.error = error;
    file->source.ready = true;
    file->io.fd = fd;
    file->io.direct_fd = -1;
    fd_name(fd, file->io.name, sizeof(file->io.name));
    start = lseek(fd, 0, SEEK_CUR);
    if (start < 0 || xensave_file_size(fd, &file->end, &is_device)) {
        xensave_fail(error, errno,
                     "%s is neither a file nor a block device: %s",
                     file->io.name, strerror(errno));
        free(file);
        return NULL;
    }
    file->source.offset = start;
    if (xensave_options_copy(&known, sizeof(known), options, error)) {
        file_free(&file->source);
        return NULL;
    }
    return open_as(file, &known);
}
