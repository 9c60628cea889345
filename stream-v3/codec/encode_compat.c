/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spec 3.4 from the writer's side. */
#include "encoder.h"

static int compat_begin(struct v3_encoder *encoder)
{
    struct v3_padding_record padding;

    v3_padding_init(&padding, V3_PADDING_START);
    padding.body.head_padding = encoder->options.head_padding;
    padding.body.checksum = v3_padding_start_checksum(&padding);
    encoder->totals.records++;
    return v3_sink_write(encoder->sink, &padding, sizeof(padding));
}

/* The octets of a PAGE_DATA record that come before its pages. */
static size_t head_length(const struct v3_encoder *encoder)
{
    return sizeof(encoder->record) + sizeof(encoder->page_data) +
           8ULL * encoder->page_data.count;
}

static int compat_batch(struct v3_encoder *encoder)
{
    struct v3_sink *sink = encoder->sink;
    struct v3_padding_record padding;
    uint64_t pages;
    uint32_t zeros;

    encoder->batch_offset = v3_sink_offset(sink);
    v3_checksum_reset(&encoder->batch);
    if (encoder->contents) {
        v3_sink_hold(sink);
        v3_padding_init(&padding, V3_PADDING_BATCH);
        pages = encoder->batch_offset + sizeof(padding) +
                head_length(encoder);
        zeros = round_up(pages, V3_ALIGNMENT_MIN) - pages;
        padding.record.length += zeros;
        encoder->totals.records++;
        if (v3_sink_write(sink, &padding, sizeof(padding)) ||
            v3_sink_zeros(sink, zeros))
            return -1;
    }
    if (v3_sink_write(sink, &encoder->record, sizeof(encoder->record)))
        return -1;
    return v3_sink_write(sink, encoder->piece, sizeof(encoder->page_data) +
                                               8ULL * encoder->page_data.count);
}

static int compat_page(struct v3_encoder *encoder, const void *page)
{
    encoder->totals.pages_stored++;
    return v3_encoder_copy_page(encoder, page);
}

static int compat_batch_end(struct v3_encoder *encoder)
{
    uint64_t checksum;

    if (encoder->sink->hold == UINT64_MAX)
        return 0;
    v3_checksum_add(&encoder->batch, &encoder->record,
                    sizeof(encoder->record));
    v3_checksum_add(&encoder->batch, encoder->piece,
                    sizeof(encoder->page_data) +
                    8ULL * encoder->page_data.count);
    checksum = v3_checksum_get(&encoder->batch);
    return v3_sink_patch(encoder->sink,
                         encoder->batch_offset +
                         offsetof(struct v3_padding_record,
                                  body.checksum),
                         &checksum, sizeof(checksum));
}

const struct v3_encoder_format v3_encoder_compat = {
    .begin = compat_begin,
    .batch = compat_batch,
    .page = compat_page,
    .batch_end = compat_batch_end,
};
