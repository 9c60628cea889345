/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <inttypes.h>

#include "stream-v3/codec/batch.h"
#include "walk.h"

struct xensave_walk {
    const struct xensave_file *savefile;
    struct xensave_error *error;
    struct xensave_window window;
    enum xensave_layer layer;
    bool ended;
    struct xensave_order order;
    uint64_t number; /* of the next record */
    uint64_t offset; /* in the file, of the next record */
    uint64_t checksum;
    uint64_t batches;               /* v3 */
    struct xensave_batch_head head; /* v2, compat: only the pfns */
};

static const struct xensave_name libxl_record_names[] = {
    { 0, "END" },
    { 1, "LIBXC_CONTEXT" },
    { 2, "EMULATOR_XENSTORE_DATA" },
    { 3, "EMULATOR_CONTEXT" },
    { 4, "CHECKPOINT_END" },
    { 5, "CHECKPOINT_STATE" },
};

const char *xensave_layer_record_name(enum xensave_layer layer, uint32_t type)
{
    return layer == XENSAVE_LAYER_LIBXC
               ? xensave_record_name(type)
               : xensave_name_of(libxl_record_names,
                                 ARRAY_SIZE(libxl_record_names), (int)type);
}

/* ---- reading ------------------------------------------------------------ */

static int bad(struct xensave_walk *walk, const char *what)
{
    return xensave_fail_at(walk->error, EBADMSG, walk->offset, walk->number,
                           "%s; the file is damaged", what);
}

static int cut_off(struct xensave_walk *walk)
{
    return xensave_fail_at(walk->error, ENODATA, walk->offset, walk->number,
                           "the file ends in the midst of a record; it is "
                           "not whole");
}

static int copy(struct xensave_walk *walk, void *to, size_t length,
                uint64_t offset)
{
    const void *at = walk->window.bytes.look(&walk->window.bytes, offset,
                                             length);

    if (at) {
        memcpy(to, at, length);
        return 0;
    }
    if (errno == ENODATA)
        return cut_off(walk);
    return xensave_fail_at(walk->error, errno, walk->offset, walk->number,
                           "cannot read the file: %s", strerror(errno));
}

/* ---- batches ------------------------------------------------------------ */

static int look_at_page_data(struct xensave_walk *walk,
                             struct xensave_record *record,
                             const struct xensave_v2_record_header *header)
{
    uint64_t at = record->offset + sizeof(*header);
    struct xensave_v2_page_data_header page_data;
    struct xensave_pfns seen;
    size_t array;

    record->irregular = true;
    if (record->length < sizeof(page_data))
        return 0;
    if (copy(walk, &page_data, sizeof(page_data), at))
        return -1;
    array = 8 * (size_t)page_data.count;
    at += sizeof(page_data);
    if (page_data.count > XENSAVE_BATCH_MAX ||
        record->length < sizeof(page_data) + array)
        return 0;
    if (copy(walk, walk->head.arrays, array, at))
        return -1;
    /* Without pfns there is nothing to find in it. */
    record->irregular = page_data.count &&
                        !xensave_page_data_regular(header, &page_data,
                                                   walk->head.arrays, &seen);
    if (record->irregular || !page_data.count)
        return 0;
    record->batch = (struct xensave_index_batch){
        .offset = record->offset,
        .page_offset = at + array,
        .first_pfn = seen.first,
        .last_pfn = seen.last,
        .count = page_data.count,
        .pages = seen.stored,
        .stored = seen.stored * XENSAVE_V2_PAGE_SIZE,
        .checksum = walk->checksum,
    };
    return 0;
}

static int look_at_aligned(struct xensave_walk *walk,
                           struct xensave_record *record,
                           const struct xensave_v2_record_header *header)
{
    const struct xensave_aligned_header *stream = &walk->savefile->header;
    struct xensave_batch_head *head = &walk->head;
    struct xensave_batch_shape shape;
    struct xensave_pfns seen;
    const char *wrong;

    head->record = *header;
    if (copy(walk, &head->aligned, sizeof(head->aligned),
             record->offset + sizeof(*header)))
        return -1;
    if (!xensave_batch_fits(stream, header, &head->aligned, &shape))
        return bad(walk, "ALIGNED_PAGE_DATA with counts and lengths that do "
                         "not agree");
    if (copy(walk, head->arrays, shape.arrays,
             record->offset + offsetof(struct xensave_batch_head, arrays)))
        return -1;
    wrong = xensave_batch_verify(head, &shape, stream->file_id,
                                 walk->batches++, &seen);
    if (wrong)
        return bad(walk, wrong);
    xensave_batch_entry(head, &shape, &seen, record->offset, &record->batch);
    record->codec = shape.codec;
    record->zero_pages = seen.contents - seen.stored;
    return 0;
}

static int look_at_padding(struct xensave_walk *walk,
                           struct xensave_record *record,
                           const struct xensave_v2_record_header *header)
{
    struct xensave_padding_record padding = { .record = *header };

    if (copy(walk, &padding.body, sizeof(padding.body),
             record->offset + sizeof(*header)))
        return -1;
    if (walk->number ? !xensave_padding_is_batch(&padding)
                     : !xensave_padding_is_start(&padding))
        return bad(walk, "PADDING that is malformed");
    walk->checksum = padding.body.checksum;
    return 0;
}

static const struct {
    uint32_t type;
    int (*look_at)(struct xensave_walk *walk, struct xensave_record *record,
                   const struct xensave_v2_record_header *header);
} kinds[] = {
    { XENSAVE_V2_RECORD_PAGE_DATA, look_at_page_data },
    { XENSAVE_RECORD_PAGE_DATA, look_at_aligned },
    { XENSAVE_RECORD_PADDING, look_at_padding },
};

/* ---- records ------------------------------------------------------------ */

static int look_at_stream(struct xensave_walk *walk,
                          struct xensave_record *record,
                          const struct xensave_v2_record_header *header)
{
    const enum xensave_format format = walk->savefile->format;
    bool announced = walk->order.announced;

    if (xensave_record_check(&walk->order, format, header, walk->offset,
                             walk->number, walk->error))
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (kinds[i].type == header->type &&
            kinds[i].look_at(walk, record, header))
            return -1;
    if (format == XENSAVE_FORMAT_COMPAT &&
        header->type == XENSAVE_V2_RECORD_PAGE_DATA &&
        announced != (record->batch.pages > 0))
        return bad(walk, announced ? "PADDING before a PAGE_DATA without pages"
                                   : "PAGE_DATA without its PADDING");
    return 0;
}

int xensave_walk_next(struct xensave_walk *walk, struct xensave_record *record)
{
    const bool stream = walk->layer == XENSAVE_LAYER_LIBXC;
    struct xensave_v2_record_header header;

    if (walk->error->text[0])
        return -1;
    if (walk->ended)
        return 0;
    if (copy(walk, &header, sizeof(header), walk->offset))
        return -1;
    *record = (struct xensave_record){
        .layer = walk->layer,
        .offset = walk->offset,
        .type = header.type,
        .length = header.length,
    };
    if (header.length > XENSAVE_V2_RECORD_MAX)
        return bad(walk, "a record of more than 128 MiB");
    if (walk->savefile->file_size - walk->offset <
        xensave_record_bytes(record))
        return cut_off(walk);
    if (stream && look_at_stream(walk, record, &header))
        return -1;
    walk->number++;
    walk->offset += xensave_record_bytes(record);
    if (header.type == XENSAVE_V2_RECORD_END) {
        walk->ended = !stream;
        walk->layer = XENSAVE_LAYER_LIBXL;
    }
    return 1;
}

/* ---- life --------------------------------------------------------------- */

struct xensave_walk *xensave_walk_new(int fd,
                                      const struct xensave_file *savefile,
                                      struct xensave_error *error)
{
    struct xensave_walk *walk = calloc(1, sizeof(*walk));

    memset(error, 0, sizeof(*error));
    if (!walk) {
        xensave_fail(error, ENOMEM, "out of memory");
        return NULL;
    }
    walk->savefile = savefile;
    walk->error = error;
    walk->offset = savefile->stream_start + XENSAVE_STREAM_HEADERS;
    xensave_window_init(&walk->window, fd, savefile->file_size);
    /* The pages between the records need not be read ahead. */
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    return walk;
}

void xensave_walk_free(struct xensave_walk *walk)
{
    if (!walk)
        return;
    xensave_window_close(&walk->window);
    posix_fadvise(walk->window.fd, 0, 0, POSIX_FADV_NORMAL);
    free(walk);
}
