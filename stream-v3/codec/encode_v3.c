/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spec 3.1, 3.2, 3.5, 3.6 from the writer's side. */
#include "encoder.h"

#define INDEX_MAX                                                     \
    ((XENSAVE_V2_RECORD_MAX - sizeof(struct xensave_aligned_index)) / \
     sizeof(struct xensave_index_entry))

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
    return xensave_sink_write(encoder->sink, header, sizeof(*header));
}

static int xensave_batch(struct xensave_encoder *encoder)
{
    static const uint64_t zeros[(8 + sizeof(encoder->aligned)) / 8];

    memset(&encoder->aligned, 0, sizeof(encoder->aligned));
    encoder->pages_offset = 0;
    encoder->batch_offset = xensave_sink_offset(encoder->sink);
    xensave_checksum_reset(&encoder->batch);
    /* The header and the array are known only when the pages are. */
    xensave_sink_hold(encoder->sink);
    if (xensave_sink_write(encoder->sink, zeros, sizeof(zeros)))
        return -1;
    return xensave_sink_write(encoder->sink, encoder->pfns,
                              8ULL * encoder->page_data.count);
}

static int store_page(struct xensave_encoder *encoder, const void *page)
{
    struct xensave_sink *sink = encoder->sink;
    uint64_t offset = xensave_sink_offset(sink);

    if (!encoder->aligned.pages) {
        encoder->aligned.pad_length = round_up(offset, sink->alignment) -
                                      offset;
        if (xensave_sink_zeros(sink, encoder->aligned.pad_length))
            return -1;
        encoder->pages_offset = xensave_sink_offset(sink);
    }
    encoder->aligned.pages++;
    return xensave_encoder_copy_page(encoder, page);
}

static int xensave_page(struct xensave_encoder *encoder, const void *page)
{
    if (!encoder->options.keep_zero_pages && xensave_page_is_zero(page)) {
        encoder->pfns[encoder->next_pfn] |= XENSAVE_PFN_ZERO;
        encoder->totals.pages_zero++;
        return 0;
    }
    encoder->totals.pages_stored++;
    return store_page(encoder, page);
}

static int grow_index(struct xensave_encoder *encoder)
{
    uint32_t capacity = encoder->index_capacity ? encoder->index_capacity * 2
                                                : 256;
    void *grown = realloc(encoder->index,
                          capacity * sizeof(encoder->index[0]));

    if (!grown)
        return xensave_fail(encoder->error, ENOMEM,
                            "cannot allocate %u index entries", capacity);
    encoder->index = grown;
    encoder->index_capacity = capacity;
    return 0;
}

int xensave_encoder_add_to_index(struct xensave_encoder *encoder,
                                 const struct xensave_batch_head *head,
                                 uint64_t offset, uint64_t pages)
{
    struct xensave_index_entry entry = {
        .offset = offset - encoder->start,
        .first_pfn = UINT64_MAX,
        .count = head->aligned.count,
        .pages = head->aligned.pages,
        .page_offset = pages ? pages - encoder->start : 0,
    };

    for (uint32_t i = 0; i < entry.count; i++) {
        uint64_t pfn = head->pfns[i] & XENSAVE_V2_PFN_MASK;

        if (!xensave_pfn_has_contents(head->pfns[i]))
            continue;
        if (pfn < entry.first_pfn)
            entry.first_pfn = pfn;
        if (pfn > entry.last_pfn)
            entry.last_pfn = pfn;
    }
    if (entry.first_pfn == UINT64_MAX || encoder->no_index)
        return 0;
    if (encoder->index_entries == INDEX_MAX) {
        encoder->no_index = true;
        return 0;
    }
    if (encoder->index_entries == encoder->index_capacity &&
        grow_index(encoder))
        return -1;
    encoder->index[encoder->index_entries++] = entry;
    return 0;
}

void xensave_encoder_seal_batch(struct xensave_encoder *encoder,
                                struct xensave_batch_head *head,
                                uint32_t stored,
                                const struct xensave_checksum *checksum)
{
    struct xensave_checksum whole = *checksum;

    head->record.type = XENSAVE_RECORD_PAGE_DATA;
    head->record.length = sizeof(head->aligned) + 8 * head->aligned.count +
                          head->aligned.pad_length + stored;
    head->aligned.checksum = 0;
    xensave_checksum_add(&whole, head,
                         xensave_batch_head_length(head->aligned.count));
    head->aligned.checksum = xensave_checksum_get(&whole);
    xensave_checksum_add(&encoder->context, &head->aligned.checksum, 8);
}

static int xensave_batch_end(struct xensave_encoder *encoder)
{
    uint32_t count = encoder->page_data.count;
    struct xensave_batch_head head;

    encoder->aligned.count = count;
    head.aligned = encoder->aligned;
    memcpy(head.pfns, encoder->pfns, 8 * (size_t)count);
    xensave_encoder_seal_batch(encoder, &head,
                               head.aligned.pages * XENSAVE_V2_PAGE_SIZE,
                               &encoder->batch);
    if (xensave_sink_zeros(encoder->sink, record_padding(head.record.length)))
        return -1;
    if (xensave_sink_patch(encoder->sink, encoder->batch_offset, &head,
                           xensave_batch_head_length(count)))
        return -1;
    return xensave_encoder_add_to_index(encoder, &head, encoder->batch_offset,
                                        encoder->pages_offset);
}

static int write_index(struct xensave_encoder *encoder)
{
    size_t length = encoder->index_entries * sizeof(encoder->index[0]);
    struct {
        struct xensave_v2_record_header record;
        struct xensave_aligned_index index;
    } head = {
        .record = { XENSAVE_RECORD_INDEX, sizeof(head.index) + length },
        .index = { .entries = encoder->index_entries },
    };

    encoder->header.body.index_offset = xensave_sink_offset(encoder->sink) -
                                        encoder->start;
    xensave_checksum_reset(&encoder->batch);
    xensave_checksum_add(&encoder->batch, &head, sizeof(head));
    xensave_checksum_add(&encoder->batch, encoder->index, length);
    head.index.checksum = xensave_checksum_get(&encoder->batch);
    xensave_checksum_add(&encoder->context, &head.index.checksum, 8);
    encoder->totals.records++;
    if (xensave_sink_write(encoder->sink, &head, sizeof(head)))
        return -1;
    return xensave_sink_write(encoder->sink, encoder->index, length);
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
                                &encoder->header, sizeof(encoder->header));
}

const struct xensave_encoder_format xensave_encoder_v3 = {
    .context = true,
    .begin = xensave_begin,
    .batch = xensave_batch,
    .page = xensave_page,
    .batch_end = xensave_batch_end,
    .end = xensave_end,
    .finished = xensave_finished,
};
