/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spec 3.4 from the reader's side. */
#include <inttypes.h>

#include "decoder.h"

#define COPY_STEP 262144U

static int bad(struct xensave_decoder *decoder, const char *what)
{
    return xensave_decoder_fail(decoder, "%s; the stream is damaged", what);
}

static int read_padding(struct xensave_decoder *decoder)
{
    struct xensave_padding_record padding = { .record = decoder->record };
    const struct xensave_padding *body = &padding.body;

    if (xensave_source_read(decoder->source, &padding.body, sizeof(*body)))
        return -1;
    if (decoder->phase == PHASE_FIRST_RECORD) {
        if (!xensave_padding_is_start(&padding))
            return bad(decoder, "the PADDING that begins a compat stream is "
                                "malformed");
        decoder->head_padding = body->head_padding;
        return 0;
    }
    if (!xensave_padding_is_batch(&padding))
        return bad(decoder, "PADDING record that is malformed");
    decoder->expected = body->checksum;
    return xensave_decoder_zeros(decoder,
                                 decoder->record.length - sizeof(*body));
}

/* Hands out a PAGE_DATA of which `here` bytes of the body have been read. */
static int pass_page_data(struct xensave_decoder *decoder, size_t here)
{
    xensave_decoder_pass_record(decoder);
    decoder->piece = (const uint8_t *)&decoder->v2;
    decoder->piece_left += here;
    decoder->body_left -= here;
    return 0;
}

static int begin_batch(struct xensave_decoder *decoder)
{
    xensave_checksum_reset(&decoder->part);
    decoder->totals.pages_stored += decoder->contents;
    return xensave_decoder_begin_batch(decoder);
}

static int read_page_data(struct xensave_decoder *decoder)
{
    struct xensave_v2_page_data_header *page_data = &decoder->v2.page_data;
    struct xensave_pfns seen = { 0 };
    size_t here = 0;
    bool regular = false;

    decoder->contents = 0;
    decoder->v2.record = decoder->record;
    if (decoder->record.length >= sizeof(*page_data)) {
        here = sizeof(*page_data);
        if (xensave_source_read(decoder->source, page_data, here))
            return -1;
        if (page_data->count && page_data->count <= XENSAVE_BATCH_MAX &&
            decoder->record.length >= here + 8 * page_data->count) {
            if (xensave_source_read(decoder->source, decoder->v2.pfns,
                                    8ULL * page_data->count))
                return -1;
            here += 8ULL * page_data->count;
            regular = xensave_page_data_regular(&decoder->record, page_data,
                                                decoder->v2.pfns, &seen);
        }
    }
    if (regular)
        decoder->contents = seen.contents;
    decoder->totals.batches += regular;
    if (decoder->announced && !decoder->contents)
        return bad(decoder, "PADDING before a PAGE_DATA that has no pages "
                            "or does not fit together");
    if (decoder->contents && !decoder->announced)
        return bad(decoder, "PAGE_DATA without its PADDING");
    return decoder->contents ? begin_batch(decoder)
                             : pass_page_data(decoder, here);
}

static int compat_record(struct xensave_decoder *decoder)
{
    if (decoder->record.type == XENSAVE_RECORD_PADDING)
        return read_padding(decoder);
    if (decoder->record.type == XENSAVE_V2_RECORD_PAGE_DATA)
        return read_page_data(decoder);
    return xensave_decoder_pass_record(decoder);
}

static int compat_pages(struct xensave_decoder *decoder, uint8_t *to)
{
    uint32_t count = decoder->v2.page_data.count;
    size_t left = (size_t)decoder->contents * XENSAVE_V2_PAGE_SIZE, part;

    /* Into the checksum while they are in the CPU's cache. */
    for (; left; to += part, left -= part) {
        part = min_u64(left, COPY_STEP);
        if (xensave_decoder_read_part(decoder, to, part))
            return -1;
    }
    xensave_checksum_add(&decoder->part, &decoder->v2,
                         sizeof(decoder->v2.record) +
                             sizeof(decoder->v2.page_data) + 8ULL * count);
    if (xensave_checksum_get(&decoder->part) != decoder->expected)
        return xensave_decoder_fail(
            decoder,
            "batch of %" PRIu32 " pfns, 0x%" PRIx64 " to 0x%" PRIx64
            ", does not match its checksum; the stream is damaged",
            count, (uint64_t)(decoder->v2.pfns[0] & XENSAVE_V2_PFN_MASK),
            (uint64_t)(decoder->v2.pfns[count - 1] & XENSAVE_V2_PFN_MASK));
    return 0;
}

const struct xensave_decoder_format xensave_decoder_compat = {
    .format = XENSAVE_FORMAT_COMPAT,
    .record = compat_record,
    .pages = compat_pages,
};
