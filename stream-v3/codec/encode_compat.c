/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spec 3.4 from the writer's side. */
#include "encoder.h"

static int compat_begin(struct xensave_encoder *encoder)
{
    struct xensave_padding_record padding;

    xensave_padding_init(&padding, XENSAVE_PADDING_START);
    padding.body.head_padding = encoder->options.head_padding;
    padding.body.checksum = xensave_padding_start_checksum(&padding);
    encoder->totals.records++;
    return xensave_sink_write(encoder->sink, &padding, sizeof(padding));
}

/* The bytes of a PAGE_DATA record that come before its pages. */
static size_t head_length(const struct xensave_encoder *encoder)
{
    return sizeof(encoder->record) + sizeof(encoder->page_data) +
           8ULL * encoder->page_data.count;
}

static int compat_batch(struct xensave_encoder *encoder)
{
    struct xensave_sink *sink = encoder->sink;
    struct xensave_padding_record padding;
    uint64_t pages;
    uint32_t zeros;

    encoder->batch_offset = xensave_sink_offset(sink);
    xensave_checksum_reset(&encoder->part);
    if (encoder->contents) {
        xensave_sink_hold(sink);
        xensave_padding_init(&padding, XENSAVE_PADDING_BATCH);
        pages = encoder->batch_offset + sizeof(padding) + head_length(encoder);
        zeros = round_up(pages, XENSAVE_ALIGNMENT_MIN) - pages;
        padding.record.length += zeros;
        encoder->totals.records++;
        if (xensave_sink_write(sink, &padding, sizeof(padding)) ||
            xensave_sink_zeros(sink, zeros))
            return -1;
    }
    if (xensave_sink_write(sink, &encoder->record, sizeof(encoder->record)))
        return -1;
    return xensave_sink_write(sink, encoder->piece,
                              sizeof(encoder->page_data) +
                                  8ULL * encoder->page_data.count);
}

static int compat_page(struct xensave_encoder *encoder, const void *page)
{
    encoder->totals.pages_stored++;
    return xensave_encoder_copy_page(encoder, page);
}

static int compat_batch_end(struct xensave_encoder *encoder)
{
    uint64_t checksum;

    if (encoder->sink->hold == UINT64_MAX)
        return 0;
    xensave_checksum_add(&encoder->part, &encoder->record,
                         sizeof(encoder->record));
    xensave_checksum_add(&encoder->part, encoder->piece,
                         sizeof(encoder->page_data) +
                             8ULL * encoder->page_data.count);
    checksum = xensave_checksum_get(&encoder->part);
    return xensave_sink_patch(encoder->sink,
                              encoder->batch_offset +
                                  offsetof(struct xensave_padding_record,
                                           body.checksum),
                              &checksum, sizeof(checksum));
}

const struct xensave_encoder_format xensave_encoder_compat = {
    .begin = compat_begin,
    .batch = compat_batch,
    .page = compat_page,
    .batch_end = compat_batch_end,
};
