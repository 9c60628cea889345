/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stream-v3/codec/batch.h"
#include "walk.h"

/* Holds the header and the pfns of a full batch. */
#define WINDOW 16384

struct walk {
    int fd;
    const struct xensave_file *savefile;
    walk_function *function;
    void *context;
    struct xensave_error *error;
    uint64_t records;
    uint64_t offset; /* in the file, of the next record */
    uint64_t base;   /* of what is in the window */
    size_t filled;
    uint64_t pfns[XENSAVE_BATCH_MAX];
    unsigned char window[WINDOW];
};

/* ---- names -------------------------------------------------------------- */

const char *walk_record_name(const struct walk_record *record)
{
    return record->layer == WALK_LIBXC
               ? xensave_record_name(record->type)
               : xensave_libxl_record_name(record->type);
}

uint64_t walk_record_bytes(const struct walk_record *record)
{
    uint64_t body = (uint64_t)record->length + record_padding(record->length);

    return sizeof(struct xensave_v2_record_header) + body;
}

/* ---- reading ------------------------------------------------------------ */

static int __attribute__((format(printf, 3, 4)))
fail(struct walk *walk, int errnum, const char *format, ...)
{
    struct xensave_error *error = walk->error;
    char what[256];
    va_list ap;

    va_start(ap, format);
    vsnprintf(what, sizeof(what), format, ap);
    va_end(ap);
    error->errnum = errnum;
    error->has_offset = true;
    error->offset = walk->offset;
    error->record = walk->records;
    snprintf(error->text, sizeof(error->text),
             "offset %" PRIu64 ", record %" PRIu64 ": %s", walk->offset,
             walk->records, what);
    return -1;
}

/* `length` bytes at a file offset, at most WINDOW; NULL after fail(). */
static const void *look(struct walk *walk, uint64_t offset, size_t length)
{
    ssize_t r;

    if (offset >= walk->base && offset + length <= walk->base + walk->filled)
        return walk->window + (offset - walk->base);

    walk->base = offset;
    walk->filled = 0;
    while (walk->filled < length) {
        r = pread(walk->fd, walk->window + walk->filled, WINDOW - walk->filled,
                  offset + walk->filled);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0) {
            fail(walk, errno, "reading the file: %s", strerror(errno));
            return NULL;
        }
        if (!r) {
            fail(walk, ENODATA,
                 "the file ends at %" PRIu64
                 ", in the midst of a record; it is not whole",
                 offset + walk->filled);
            return NULL;
        }
        walk->filled += r;
    }
    return walk->window;
}

/* ---- batches ------------------------------------------------------------ */

/* 1 if a pfn is invalid, -1 if the pfns cannot be read. */
static int count_pfns(struct walk *walk, uint64_t offset, bool zero_bit,
                      struct walk_record *record)
{
    size_t length = record->pfns * sizeof(walk->pfns[0]);
    const void *at = look(walk, offset, length);
    struct xensave_pfns seen;

    if (!at)
        return -1;
    memcpy(walk->pfns, at, length);
    if (!xensave_pfns_check(walk->pfns, record->pfns, zero_bit, &seen))
        return 1;
    record->pages = seen.stored;
    record->zero_pages = seen.contents - seen.stored;
    return 0;
}

/* One that is not as Xen writes it (spec 3.3) is a record like others. */
static int look_at_page_data(struct walk *walk, struct walk_record *record)
{
    uint64_t body = record->offset + sizeof(struct xensave_v2_record_header);
    const struct walk_record plain = *record;
    struct xensave_v2_page_data_header header;
    uint64_t pfns, contents;
    const void *at;
    int r;

    if (record->length < sizeof(header))
        return 0;
    at = look(walk, body, sizeof(header));
    if (!at)
        return -1;
    memcpy(&header, at, sizeof(header));
    pfns = body + sizeof(header);
    contents = pfns + (uint64_t)header.count * sizeof(uint64_t);
    if (!header.count || header.count > XENSAVE_BATCH_MAX || header.reserved ||
        contents > body + record->length)
        return 0;
    record->pfns = header.count;
    r = count_pfns(walk, pfns, false, record);
    if (r < 0)
        return -1;
    if (r || contents + (uint64_t)record->pages * XENSAVE_V2_PAGE_SIZE !=
                 body + record->length)
        *record = plain;
    else if (record->pages)
        record->page_offset = contents;
    record->stored = (uint64_t)record->pages * XENSAVE_V2_PAGE_SIZE;
    return 0;
}

static int look_at_contents(struct walk *walk, struct walk_record *record,
                            const struct xensave_aligned_page_data *header)
{
    struct xensave_batch_shape shape;
    uint64_t before;

    xensave_batch_shape(header, &shape);
    before = sizeof(*header) + (uint64_t)shape.arrays + header->pad_length;
    if (before > record->length)
        return fail(walk, EBADMSG,
                    "ALIGNED_PAGE_DATA with %u bytes of "
                    "padding in %u; the file is damaged",
                    header->pad_length, record->length);
    record->codec = header->flags & XENSAVE_BATCH_CODEC_MASK;
    record->stored = record->length - before;
    if (record->pages)
        record->page_offset = record->offset +
                              sizeof(struct xensave_v2_record_header) + before;
    return 0;
}

static int look_at_aligned(struct walk *walk, struct walk_record *record)
{
    uint64_t body = record->offset + sizeof(struct xensave_v2_record_header);
    struct xensave_aligned_page_data header;
    const void *at;
    int r;

    if (record->length < sizeof(header))
        return fail(walk, EBADMSG, "ALIGNED_PAGE_DATA is too short");
    at = look(walk, body, sizeof(header));
    if (!at)
        return -1;
    memcpy(&header, at, sizeof(header));
    record->pfns = header.count;
    if (header.count > XENSAVE_BATCH_MAX ||
        sizeof(header) + (uint64_t)header.count * 8 > record->length)
        return fail(walk, EBADMSG,
                    "ALIGNED_PAGE_DATA with %u pfns in %u "
                    "bytes; the file is damaged",
                    header.count, record->length);
    r = count_pfns(walk, body + sizeof(header), true, record);
    if (r < 0)
        return -1;
    if (r)
        return fail(walk, EBADMSG,
                    "ALIGNED_PAGE_DATA has an invalid pfn; the file is "
                    "damaged");
    if (record->pages != header.pages)
        return fail(walk, EBADMSG,
                    "ALIGNED_PAGE_DATA says %u pages, its "
                    "pfns say %u; the file is damaged",
                    header.pages, record->pages);
    return look_at_contents(walk, record, &header);
}

static const struct batch_kind {
    uint32_t type;
    int (*look_at)(struct walk *walk, struct walk_record *record);
} batch_kinds[] = {
    { XENSAVE_V2_RECORD_PAGE_DATA, look_at_page_data },
    { XENSAVE_RECORD_PAGE_DATA, look_at_aligned },
};

/* ---- records ------------------------------------------------------------ */

static int next_record(struct walk *walk, enum walk_layer layer,
                       struct walk_record *record)
{
    struct xensave_v2_record_header header;
    const void *at;
    size_t i;

    at = look(walk, walk->offset, sizeof(header));
    if (!at)
        return -1;
    memcpy(&header, at, sizeof(header));
    *record = (struct walk_record){
        .layer = layer,
        .offset = walk->offset,
        .type = header.type,
        .length = header.length,
    };
    if (header.length > XENSAVE_V2_RECORD_MAX)
        return fail(walk, EBADMSG,
                    "a record of type 0x%08x claims %u "
                    "bytes; the file is damaged",
                    header.type, header.length);
    if (walk->savefile->file_size - walk->offset < walk_record_bytes(record))
        return fail(walk, ENODATA,
                    "the file ends at %" PRIu64
                    ", in the midst of a record; it is not whole",
                    walk->savefile->file_size);
    for (i = 0; layer == WALK_LIBXC && i < ARRAY_SIZE(batch_kinds); i++)
        if (batch_kinds[i].type == header.type &&
            batch_kinds[i].look_at(walk, record))
            return -1;
    walk->function(record, walk->context);
    walk->records++;
    walk->offset += walk_record_bytes(record);
    return 0;
}

/* Up to and including END, whose type is 0 in both layers. */
static int walk_layer(struct walk *walk, enum walk_layer layer)
{
    struct walk_record record;

    do {
        if (next_record(walk, layer, &record))
            return -1;
    } while (record.type != XENSAVE_V2_RECORD_END);
    return 0;
}

int walk_savefile(int fd, const struct xensave_file *savefile,
                  walk_function *function, void *context,
                  struct walk_result *result, struct xensave_error *error)
{
    struct walk *walk = malloc(sizeof(*walk));
    int rc = -1;

    *result = (struct walk_result){ 0 };
    if (!walk) {
        error->errnum = ENOMEM;
        snprintf(error->text, sizeof(error->text), "out of memory");
        return -1;
    }
    walk->fd = fd;
    walk->savefile = savefile;
    walk->function = function;
    walk->context = context;
    walk->error = error;
    walk->records = 0;
    walk->base = walk->filled = 0;
    walk->offset = savefile->stream_start +
                   sizeof(struct xensave_v2_image_header) +
                   sizeof(struct xensave_v2_domain_header);
    /* The pages between the records need not be read ahead. */
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);

    if (walk_layer(walk, WALK_LIBXC))
        goto out;
    result->stream_end = result->tail_offset = walk->offset;
    if (walk_layer(walk, WALK_LIBXL)) {
        result->tail_offset = walk->offset;
        goto out;
    }
    result->tail_end = result->tail_offset = walk->offset;
    rc = 0;

out:
    posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL);
    free(walk);
    return rc;
}
