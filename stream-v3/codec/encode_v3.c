/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spec 3.1, 3.2, 3.5, 3.6 from the writer's side. */
#include "encoder.h"
#include "page.h"

#define INDEX_MAX \
    ((V2_RECORD_MAX - sizeof(struct v3_aligned_index)) / \
     sizeof(struct v3_index_entry))

static int v3_begin(struct v3_encoder *encoder)
{
    struct v3_header_record *header = &encoder->header;
    struct v3_aligned_header *body = &header->body;

    header->record.type = V3_RECORD_HEADER;
    header->record.length = sizeof(*body);
    memcpy(body->magic, V3_MAGIC, sizeof(body->magic));
    body->version = V3_VERSION;
    body->min_reader_version = V3_VERSION;
    body->mandatory_features =
        v3_codec_feature(encoder->options.compression.codec);
    body->optional_features = V3_OPTIONAL_INDEX;
    body->alignment = encoder->sink->alignment;
    body->state = v3_sink_can_rewrite(encoder->sink) ? V3_STATE_UNFINISHED
                                                     : V3_STATE_STREAMED;
    body->stream_start = encoder->start;
    v3_header_seal(header);
    encoder->header_offset = v3_sink_offset(encoder->sink);
    encoder->totals.records++;
    return v3_sink_write(encoder->sink, header, sizeof(*header));
}

static int v3_batch(struct v3_encoder *encoder)
{
    static const uint64_t room[(8 + sizeof(encoder->aligned)) / 8];

    memset(&encoder->aligned, 0, sizeof(encoder->aligned));
    encoder->pages_offset = 0;
    encoder->batch_offset = v3_sink_offset(encoder->sink);
    v3_checksum_reset(&encoder->batch);
    /* The header and the array are known only when the pages are. */
    v3_sink_hold(encoder->sink);
    if (v3_sink_write(encoder->sink, room, sizeof(room)))
        return -1;
    return v3_sink_write(encoder->sink, encoder->pfns,
                         8ULL * encoder->page_data.count);
}

static int store_page(struct v3_encoder *encoder, const void *page)
{
    struct v3_sink *sink = encoder->sink;
    uint64_t offset = v3_sink_offset(sink);

    if (!encoder->aligned.pages) {
        encoder->aligned.pad_length =
            round_up(offset, sink->alignment) - offset;
        if (v3_sink_zeros(sink, encoder->aligned.pad_length))
            return -1;
        encoder->pages_offset = v3_sink_offset(sink);
    }
    encoder->aligned.pages++;
    return v3_encoder_copy_page(encoder, page);
}

static int v3_page(struct v3_encoder *encoder, const void *page)
{
    if (!encoder->options.keep_zero_pages && v3_page_is_zero(page)) {
        encoder->pfns[encoder->next_pfn] |= V3_PFN_ZERO;
        encoder->totals.pages_zero++;
        return 0;
    }
    encoder->totals.pages_stored++;
    return store_page(encoder, page);
}

static int grow_index(struct v3_encoder *encoder)
{
    uint32_t capacity = encoder->index_capacity ? encoder->index_capacity * 2
                                                : 256;
    void *grown = realloc(encoder->index,
                          capacity * sizeof(encoder->index[0]));

    if (!grown)
        return v3_fail(encoder->error, ENOMEM,
                       "cannot allocate %u index entries", capacity);
    encoder->index = grown;
    encoder->index_capacity = capacity;
    return 0;
}

int v3_encoder_add_to_index(struct v3_encoder *encoder,
                            const struct v3_batch_head *head,
                            uint64_t offset, uint64_t pages)
{
    struct v3_index_entry entry = {
        .offset = offset - encoder->start,
        .first_pfn = UINT64_MAX,
        .count = head->aligned.count,
        .pages = head->aligned.pages,
        .page_offset = pages ? pages - encoder->start : 0,
    };

    for (uint32_t i = 0; i < entry.count; i++) {
        uint64_t pfn = head->pfns[i] & V2_PFN_MASK;

        if (!v3_pfn_has_contents(head->pfns[i]))
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

void v3_encoder_seal_batch(struct v3_encoder *encoder,
                           struct v3_batch_head *head, uint32_t stored,
                           const struct v3_checksum *checksum)
{
    struct v3_checksum whole = *checksum;

    head->record.type = V3_RECORD_PAGE_DATA;
    head->record.length = sizeof(head->aligned) + 8 * head->aligned.count +
                          head->aligned.pad_length + stored;
    head->aligned.checksum = 0;
    v3_checksum_add(&whole, head, v3_batch_head_length(head->aligned.count));
    head->aligned.checksum = v3_checksum_get(&whole);
    v3_checksum_add(&encoder->context, &head->aligned.checksum, 8);
}

static int v3_batch_end(struct v3_encoder *encoder)
{
    uint32_t count = encoder->page_data.count;
    struct v3_batch_head head;

    encoder->aligned.count = count;
    head.aligned = encoder->aligned;
    memcpy(head.pfns, encoder->pfns, 8 * (size_t)count);
    v3_encoder_seal_batch(encoder, &head, head.aligned.pages * V2_PAGE_SIZE,
                          &encoder->batch);
    if (v3_sink_zeros(encoder->sink, record_padding(head.record.length)))
        return -1;
    if (v3_sink_patch(encoder->sink, encoder->batch_offset, &head,
                      v3_batch_head_length(count)))
        return -1;
    return v3_encoder_add_to_index(encoder, &head, encoder->batch_offset,
                                   encoder->pages_offset);
}

static int write_index(struct v3_encoder *encoder)
{
    size_t length = encoder->index_entries * sizeof(encoder->index[0]);
    struct {
        struct v2_record_header record;
        struct v3_aligned_index index;
    } head = {
        .record = {V3_RECORD_INDEX, sizeof(head.index) + length},
        .index = {.entries = encoder->index_entries},
    };

    encoder->header.body.index_offset =
        v3_sink_offset(encoder->sink) - encoder->start;
    v3_checksum_reset(&encoder->batch);
    v3_checksum_add(&encoder->batch, &head, sizeof(head));
    v3_checksum_add(&encoder->batch, encoder->index, length);
    head.index.checksum = v3_checksum_get(&encoder->batch);
    v3_checksum_add(&encoder->context, &head.index.checksum, 8);
    encoder->totals.records++;
    if (v3_sink_write(encoder->sink, &head, sizeof(head)))
        return -1;
    return v3_sink_write(encoder->sink, encoder->index, length);
}

static int v3_end(struct v3_encoder *encoder)
{
    struct {
        struct v2_record_header record;
        struct v3_aligned_check check;
    } tail = {.record = {V3_RECORD_CHECK, sizeof(tail.check)}};

    if (!encoder->no_index && write_index(encoder))
        return -1;
    tail.check.batches = encoder->totals.batches;
    tail.check.pages_stored = encoder->totals.pages_stored;
    tail.check.pages_zero = encoder->totals.pages_zero;
    tail.check.records = encoder->totals.records;
    v3_checksum_add(&encoder->context, &tail,
                    sizeof(tail) - sizeof(tail.check.checksum));
    tail.check.checksum = v3_checksum_get(&encoder->context);
    encoder->totals.records++;
    return v3_sink_write(encoder->sink, &tail, sizeof(tail));
}

static int v3_finished(struct v3_encoder *encoder)
{
    struct v3_aligned_header *body = &encoder->header.body;

    if (!v3_sink_can_rewrite(encoder->sink))
        return 0;
    if (encoder->no_index)
        body->optional_features &= ~V3_OPTIONAL_INDEX;
    body->stream_length = v3_sink_offset(encoder->sink) - encoder->start;
    body->batches = encoder->totals.batches;
    body->pages_stored = encoder->totals.pages_stored;
    body->pages_zero = encoder->totals.pages_zero;
    v3_header_seal(&encoder->header);
    return v3_sink_rewrite(encoder->sink, encoder->header_offset,
                           &encoder->header, sizeof(encoder->header));
}

const struct v3_encoder_format v3_encoder_v3 = {
    .context = true,
    .begin = v3_begin,
    .batch = v3_batch,
    .page = v3_page,
    .batch_end = v3_batch_end,
    .end = v3_end,
    .finished = v3_finished,
};
