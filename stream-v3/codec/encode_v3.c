/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spec 3.1, 3.2, 3.5, 3.6 from the writer's side. */
#include "encoder.h"

/* Both lists together. */
#define INDEX_MAX \
    (XENSAVE_V2_RECORD_MAX - sizeof(struct xensave_aligned_index))

/* ---- what the index lists ----------------------------------------------- */

static int grow(struct xensave_encoder *encoder, struct xensave_list *list,
                size_t size)
{
    size_t capacity = list->capacity ? list->capacity * 2 : 256 * size;
    void *grown;

    if (list->capacity - list->length >= size)
        return 0;
    grown = realloc(list->bytes, capacity);
    if (!grown)
        return xensave_fail(encoder->error, ENOMEM,
                            "cannot allocate %zu bytes of index", capacity);
    list->bytes = grown;
    list->capacity = capacity;
    return 0;
}

static int add_to_index(struct xensave_encoder *encoder,
                        struct xensave_list *list, const void *entry,
                        size_t size)
{
    if (encoder->batches.length + encoder->records.length + size > INDEX_MAX)
        encoder->no_index = true;
    if (encoder->no_index)
        return 0;
    if (grow(encoder, list, size))
        return -1;
    memcpy(list->bytes + list->length, entry, size);
    list->length += size;
    return 0;
}

int xensave_encoder_begin_record(struct xensave_encoder *encoder,
                                 const struct xensave_v2_record_header *record)
{
    encoder->totals.records++;
    encoder->passing_offset = xensave_sink_offset(encoder->sink);
    if (encoder->format->listed) {
        xensave_checksum_reset(&encoder->part);
        xensave_checksum_add(&encoder->part, encoder->header.body.file_id,
                             XENSAVE_FILE_ID);
    }
    return xensave_encoder_emit(encoder, record, sizeof(*record));
}

int xensave_encoder_end_record(struct xensave_encoder *encoder,
                               const struct xensave_v2_record_header *record)
{
    struct xensave_index_record entry = {
        .offset = encoder->passing_offset - encoder->start,
        .type = record->type,
        .length = record->length,
    };

    if (!encoder->format->listed)
        return 0;
    entry.checksum = xensave_checksum_get(&encoder->part);
    xensave_checksum_add(&encoder->context, &entry.checksum, 8);
    return add_to_index(encoder, &encoder->records, &entry, sizeof(entry));
}

/* ---- the headers -------------------------------------------------------- */

static int write_identity(struct xensave_encoder *encoder)
{
    struct xensave_v2_record_header record = { XENSAVE_RECORD_IDENTITY, 0 };
    static const char zeros[8];

    record.length = xensave_identity_to_body(encoder->identity);
    if (xensave_encoder_begin_record(encoder, &record) ||
        xensave_encoder_emit(encoder, encoder->identity, record.length) ||
        xensave_encoder_emit(encoder, zeros, record_padding(record.length)))
        return -1;
    return xensave_encoder_end_record(encoder, &record);
}

static int xensave_begin(struct xensave_encoder *encoder)
{
    struct xensave_header_record *header = &encoder->header;
    struct xensave_aligned_header *body = &header->body;

    header->record.type = XENSAVE_RECORD_HEADER;
    header->record.length = sizeof(*body);
    memcpy(body->magic, XENSAVE_MAGIC, sizeof(body->magic));
    body->version = XENSAVE_VERSION;
    body->min_reader_version = XENSAVE_VERSION;
    body->mandatory_features = xensave_codec_feature(
        encoder->options.compression.codec);
    body->optional_features = XENSAVE_OPTIONAL_INDEX;
    body->alignment = encoder->sink->alignment;
    body->state = xensave_sink_can_rewrite(encoder->sink)
                      ? XENSAVE_STATE_UNFINISHED
                      : XENSAVE_STATE_STREAMED;
    body->stream_start = encoder->start;
    xensave_header_seal(header);
    encoder->header_offset = xensave_sink_offset(encoder->sink);
    encoder->totals.records++;
    if (xensave_sink_write(encoder->sink, header,
                           xensave_header_length(header)) ||
        xensave_sink_settle(encoder->sink))
        return -1;
    return encoder->identity ? write_identity(encoder) : 0;
}

/* ---- batches ------------------------------------------------------------ */

int xensave_encoder_seal_batch(struct xensave_encoder *encoder,
                               struct xensave_batch_head *head,
                               const struct xensave_batch_shape *shape,
                               const struct xensave_pfns *pfns,
                               uint64_t offset, uint64_t pages)
{
    struct xensave_index_batch entry;

    head->aligned.number = encoder->written++;
    head->aligned.pad_length = head->aligned.pages
                                   ? pages - offset -
                                         xensave_batch_head_length(shape)
                                   : 0;
    xensave_batch_seal(head, shape, encoder->header.body.file_id);
    xensave_checksum_add(&encoder->context, &head->aligned.checksum, 8);
    xensave_batch_entry(head, shape, pfns, offset - encoder->start, &entry);
    return add_to_index(encoder, &encoder->batches, &entry, sizeof(entry));
}

uint64_t xensave_encoder_pages_offset(const struct xensave_encoder *encoder,
                                      const struct xensave_batch_head *head,
                                      uint64_t offset, uint32_t contents)
{
    struct xensave_aligned_page_data aligned = head->aligned;
    struct xensave_batch_shape shape;

    /* What this leaves must be padding: less than twice the alignment. */
    _Static_assert(XENSAVE_FRAME_ENTRY * XENSAVE_BATCH_MAX >>
                       XENSAVE_FRAME_LOG_PLAIN < XENSAVE_ALIGNMENT_MIN,
                   "smaller frames leave too much");
    aligned.pages = contents;
    xensave_batch_shape(&aligned, &shape);
    return round_up(offset + xensave_batch_head_length(&shape),
                    encoder->sink->alignment);
}

static int xensave_batch(struct xensave_encoder *encoder)
{
    struct xensave_batch_head *head = &encoder->head;
    uint64_t offset = xensave_sink_offset(encoder->sink);

    memset(&head->aligned, 0, sizeof(head->aligned));
    head->aligned.count = encoder->page_data.count;
    head->aligned.flags = XENSAVE_FRAME_LOG_PLAIN << XENSAVE_BATCH_FRAME_SHIFT;
    memcpy(head->arrays, encoder->pfns, 8 * (size_t)head->aligned.count);
    encoder->pages_offset = xensave_encoder_pages_offset(encoder, head, offset,
                                                         encoder->contents);
    encoder->batch_offset = offset;
    /* The head is known only when the pages are. */
    xensave_sink_hold(encoder->sink);
    return xensave_sink_zeros(encoder->sink,
                              offsetof(struct xensave_batch_head, arrays) +
                                  8 * (size_t)head->aligned.count);
}

static void end_frame(struct xensave_encoder *encoder)
{
    struct xensave_batch_head *head = &encoder->head;

    xensave_batch_checks(
        head)[(head->aligned.pages - 1) >> XENSAVE_FRAME_LOG_PLAIN] =
        xensave_checksum_get(&encoder->part);
}

static int store_page(struct xensave_encoder *encoder, const void *page)
{
    const uint32_t within = (1U << XENSAVE_FRAME_LOG_PLAIN) - 1;
    struct xensave_sink *sink = encoder->sink;
    uint32_t *pages = &encoder->head.aligned.pages;

    if (!*pages && xensave_sink_zeros(sink, encoder->pages_offset -
                                                xensave_sink_offset(sink)))
        return -1;
    if (!(*pages & within))
        xensave_checksum_reset(&encoder->part);
    if (xensave_encoder_copy_page(encoder, page))
        return -1;
    if (!(++*pages & within))
        end_frame(encoder);
    return 0;
}

static int xensave_page(struct xensave_encoder *encoder, const void *page)
{
    if (!encoder->options.keep_zero_pages && xensave_page_is_zero(page)) {
        encoder->head.arrays[encoder->next_pfn] |= XENSAVE_PFN_ZERO;
        encoder->totals.pages_zero++;
        return 0;
    }
    encoder->totals.pages_stored++;
    return store_page(encoder, page);
}

static int xensave_batch_end(struct xensave_encoder *encoder)
{
    struct xensave_batch_head *head = &encoder->head;
    struct xensave_batch_shape shape;
    struct xensave_pfns pfns;

    xensave_pfns_check(head->arrays, head->aligned.count, true, &pfns);
    xensave_batch_shape(&head->aligned, &shape);
    if (head->aligned.pages % shape.frame_pages)
        end_frame(encoder);
    xensave_batch_whole_frames(head, &shape);
    if (xensave_encoder_seal_batch(encoder, head, &shape, &pfns,
                                   encoder->batch_offset,
                                   encoder->pages_offset))
        return -1;
    if (xensave_sink_zeros(encoder->sink, record_padding(head->record.length)))
        return -1;
    return xensave_sink_patch(encoder->sink, encoder->batch_offset, head,
                              xensave_batch_head_length(&shape));
}

/* ---- the end ------------------------------------------------------------ */

static int write_index(struct xensave_encoder *encoder)
{
    const struct xensave_list *batches = &encoder->batches,
                              *records = &encoder->records;
    struct {
        struct xensave_v2_record_header record;
        struct xensave_aligned_index index;
    } head = {
        .record = { XENSAVE_RECORD_INDEX,
                    sizeof(head.index) + batches->length + records->length },
        .index = {
            .batches = batches->length / sizeof(struct xensave_index_batch),
            .records = records->length / sizeof(struct xensave_index_record),
        },
    };
    struct xensave_checksum *checksum = &encoder->part;

    encoder->header.body.index_offset = xensave_sink_offset(encoder->sink) -
                                        encoder->start;
    xensave_checksum_reset(checksum);
    xensave_checksum_add(checksum, encoder->header.body.file_id,
                         XENSAVE_FILE_ID);
    xensave_checksum_add(checksum, &head, sizeof(head));
    xensave_checksum_add(checksum, batches->bytes, batches->length);
    xensave_checksum_add(checksum, records->bytes, records->length);
    head.index.checksum = xensave_checksum_get(checksum);
    xensave_checksum_add(&encoder->context, &head.index.checksum, 8);
    encoder->totals.records++;
    if (xensave_sink_write(encoder->sink, &head, sizeof(head)) ||
        xensave_sink_write(encoder->sink, batches->bytes, batches->length))
        return -1;
    return xensave_sink_write(encoder->sink, records->bytes, records->length);
}

static int xensave_end(struct xensave_encoder *encoder)
{
    struct {
        struct xensave_v2_record_header record;
        struct xensave_aligned_check check;
    } tail = { .record = { XENSAVE_RECORD_CHECK, sizeof(tail.check) } };

    if (!encoder->no_index && write_index(encoder))
        return -1;
    tail.check.batches = encoder->totals.batches;
    tail.check.pages_stored = encoder->totals.pages_stored;
    tail.check.pages_zero = encoder->totals.pages_zero;
    tail.check.records = encoder->totals.records;
    xensave_checksum_add(&encoder->context, &tail,
                         sizeof(tail) - sizeof(tail.check.checksum));
    tail.check.checksum = xensave_checksum_get(&encoder->context);
    encoder->totals.records++;
    return xensave_sink_write(encoder->sink, &tail, sizeof(tail));
}

static int xensave_finished(struct xensave_encoder *encoder)
{
    struct xensave_aligned_header *body = &encoder->header.body;

    if (!xensave_sink_can_rewrite(encoder->sink))
        return 0;
    if (encoder->no_index)
        body->optional_features &= ~XENSAVE_OPTIONAL_INDEX;
    body->stream_length = xensave_sink_offset(encoder->sink) - encoder->start;
    body->batches = encoder->totals.batches;
    body->pages_stored = encoder->totals.pages_stored;
    body->pages_zero = encoder->totals.pages_zero;
    xensave_header_seal(&encoder->header);
    return xensave_sink_rewrite(encoder->sink, encoder->header_offset,
                                &encoder->header,
                                xensave_header_length(&encoder->header));
}

const struct xensave_encoder_format xensave_encoder_v3 = {
    .listed = true,
    .begin = xensave_begin,
    .batch = xensave_batch,
    .page = xensave_page,
    .batch_end = xensave_batch_end,
    .end = xensave_end,
    .finished = xensave_finished,
};
