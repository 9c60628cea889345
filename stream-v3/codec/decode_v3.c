/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spec 3.1, 3.2, 3.5, 3.6 from the reader's side. */
#include "decoder.h"

static int bad(struct xensave_decoder *decoder, const char *what)
{
    return xensave_decoder_fail(decoder, "%s; the stream is damaged", what);
}

static int read_header(struct xensave_decoder *decoder)
{
    struct xensave_header_record *header = &decoder->header;

    header->record = decoder->record;
    if (xensave_source_read(decoder->source, &header->body,
                            sizeof(header->body)))
        return -1;
    if (xensave_header_validate(header, decoder->record_offset,
                                decoder->error))
        return -1;
    if (header->body.state == XENSAVE_STATE_UNFINISHED)
        return xensave_decoder_fail(decoder,
                                    "the save that wrote this stream was "
                                    "never finished; it cannot be restored");
    return 0;
}

/* Makes the v2 form of the pfn array; false if it does not hold. */
static bool take_pfns(struct xensave_decoder *decoder)
{
    struct xensave_pfns seen;

    if (!xensave_pfns_check(decoder->pfns, decoder->aligned.count, true,
                            &seen))
        return false;
    for (uint32_t i = 0; i < decoder->aligned.count; i++)
        decoder->v2.pfns[i] = decoder->pfns[i] & ~XENSAVE_PFN_ZERO;
    decoder->contents = seen.contents;
    return seen.stored == decoder->aligned.pages;
}

static int read_page_data(struct xensave_decoder *decoder)
{
    struct xensave_aligned_page_data *aligned = &decoder->aligned;

    if (xensave_source_read(decoder->source, aligned, sizeof(*aligned)))
        return -1;
    if (!xensave_batch_fits(&decoder->header.body, &decoder->record, aligned,
                            &decoder->stored))
        return bad(decoder, "ALIGNED_PAGE_DATA with counts and lengths that "
                            "do not agree");
    if (xensave_source_read(decoder->source, decoder->pfns,
                            8ULL * aligned->count))
        return -1;
    if (!take_pfns(decoder))
        return bad(decoder, "ALIGNED_PAGE_DATA with pfns that do not agree "
                            "with its counts");
    if (xensave_decoder_zeros(decoder, aligned->pad_length))
        return -1;
    decoder->v2.record.type = XENSAVE_V2_RECORD_PAGE_DATA;
    decoder->v2.page_data.count = aligned->count;
    decoder->v2.page_data.reserved = 0;
    decoder->v2.record.length = sizeof(decoder->v2.page_data) +
                                8 * aligned->count +
                                decoder->contents * XENSAVE_V2_PAGE_SIZE;
    decoder->expected = aligned->checksum;
    xensave_checksum_add(&decoder->context, &aligned->checksum, 8);
    xensave_checksum_reset(&decoder->batch);
    decoder->totals.batches++;
    decoder->totals.pages_stored += aligned->pages;
    decoder->totals.pages_zero += decoder->contents - aligned->pages;
    return xensave_decoder_begin_batch(decoder);
}

static int read_index(struct xensave_decoder *decoder)
{
    struct xensave_aligned_index index;
    uint8_t entries[sizeof(struct xensave_index_entry) * 100];
    uint64_t left, expected, part;

    if (xensave_source_read(decoder->source, &index, sizeof(index)))
        return -1;
    left = (uint64_t)index.entries * sizeof(struct xensave_index_entry);
    if (index.reserved || decoder->record.length != sizeof(index) + left)
        return bad(decoder, "ALIGNED_INDEX of the wrong length");
    decoder->index_offset = decoder->record_offset - decoder->start;
    expected = index.checksum;
    xensave_checksum_add(&decoder->context, &expected, 8);
    index.checksum = 0;
    xensave_checksum_reset(&decoder->batch);
    xensave_checksum_add(&decoder->batch, &decoder->record,
                         sizeof(decoder->record));
    xensave_checksum_add(&decoder->batch, &index, sizeof(index));
    for (; left; left -= part) {
        part = min_u64(left, sizeof(entries));
        if (xensave_source_read(decoder->source, entries, part))
            return -1;
        xensave_checksum_add(&decoder->batch, entries, part);
    }
    if (xensave_checksum_get(&decoder->batch) != expected)
        return bad(decoder, "ALIGNED_INDEX does not match its checksum");
    return 0;
}

static int read_check(struct xensave_decoder *decoder)
{
    struct {
        struct xensave_v2_record_header record;
        struct xensave_aligned_check check;
    } tail = { .record = decoder->record };

    if (xensave_source_read(decoder->source, &tail.check, sizeof(tail.check)))
        return -1;
    xensave_checksum_add(&decoder->context, &tail,
                         sizeof(tail) - sizeof(tail.check.checksum));
    if (tail.check.batches != decoder->totals.batches ||
        tail.check.pages_stored != decoder->totals.pages_stored ||
        tail.check.pages_zero != decoder->totals.pages_zero ||
        tail.check.records != decoder->totals.records)
        return bad(decoder, "ALIGNED_CHECK counts other records or pages "
                            "than there are");
    if (tail.check.checksum != xensave_checksum_get(&decoder->context))
        return bad(decoder, "what is not page data does not match its "
                            "checksum");
    return 0;
}

static const struct {
    uint32_t type;
    int (*read)(struct xensave_decoder *decoder);
} readers[] = {
    { XENSAVE_RECORD_PAGE_DATA, read_page_data },
    { XENSAVE_RECORD_HEADER, read_header },
    { XENSAVE_RECORD_INDEX, read_index },
    { XENSAVE_RECORD_CHECK, read_check },
};

static int xensave_record(struct xensave_decoder *decoder)
{
    uint32_t type = decoder->record.type;

    for (size_t i = 0; i < ARRAY_SIZE(readers); i++)
        if (readers[i].type == type)
            return readers[i].read(decoder);
    return xensave_decoder_pass_record(decoder);
}

static int totals_differ(struct xensave_decoder *decoder)
{
    const struct xensave_aligned_header *body = &decoder->header.body;

    return body->state == XENSAVE_STATE_COMPLETE &&
           (body->batches != decoder->totals.batches ||
            body->pages_stored != decoder->totals.pages_stored ||
            body->pages_zero != decoder->totals.pages_zero ||
            body->index_offset != decoder->index_offset ||
            body->stream_length !=
                xensave_source_offset(decoder->source) - decoder->start);
}

static int xensave_end(struct xensave_decoder *decoder)
{
    if (totals_differ(decoder))
        return bad(decoder, "ALIGNED_HEADER has other totals than the "
                            "stream");
    return 0;
}

const struct xensave_decoder_format xensave_decoder_v3 = {
    .format = XENSAVE_FORMAT_V3,
    .context = true,
    .record = xensave_record,
    .end = xensave_end,
};
