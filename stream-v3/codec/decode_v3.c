/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spec 3.1, 3.2, 3.5, 3.6 from the reader's side. */
#include <inttypes.h>

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
                            header->record.length))
        return -1;
    if (xensave_header_validate(header, decoder->record_offset,
                                decoder->error))
        return -1;
    if (header->body.state == XENSAVE_STATE_UNFINISHED)
        return xensave_decoder_fail(decoder,
                                    "the save that wrote this stream was "
                                    "never finished; it cannot be restored");
    xensave_checksum_add(&decoder->context, header->body.file_id,
                         XENSAVE_FILE_ID);
    xensave_checksum_add(&decoder->context, &decoder->heads,
                         sizeof(decoder->heads));
    if (header->body.state == XENSAVE_STATE_COMPLETE &&
        decoder->source->ops->limit)
        decoder->source->ops->limit(decoder->source,
                                    decoder->start +
                                        header->body.stream_length);
    if (header->body.mandatory_features && decoder->source->ready)
        decoder->ring = xensave_unpack_ring_new();
    return 0;
}

static int read_identity(struct xensave_decoder *decoder)
{
    const uint32_t length = decoder->record.length;
    uint8_t padding[8];
    char *text = malloc(length + 1);

    if (!text)
        return xensave_fail(decoder->error, ENOMEM,
                            "cannot allocate memory for an identity");
    xensave_decoder_begin_part(decoder);
    if (xensave_decoder_read_part(decoder, text, length) ||
        xensave_decoder_read_part(decoder, padding, record_padding(length)))
        goto out;
    xensave_decoder_end_part(decoder);
    if (!xensave_identity_from_body(text, length)) {
        bad(decoder, "ALIGNED_IDENTITY is not made of key=value");
        goto out;
    }
    decoder->identity = text;
    return 0;

out:
    free(text);
    return -1;
}

/* ---- batches ------------------------------------------------------------ */

/* Makes the v2 form of the head. */
static void make_v2(struct xensave_decoder *decoder,
                    const struct xensave_batch_head *head)
{
    const uint32_t count = head->aligned.count;

    for (uint32_t i = 0; i < count; i++)
        decoder->v2.pfns[i] = head->arrays[i] & ~XENSAVE_PFN_ZERO;
    decoder->v2.record.type = XENSAVE_V2_RECORD_PAGE_DATA;
    decoder->v2.page_data.count = count;
    decoder->v2.page_data.reserved = 0;
    decoder->v2.record.length = sizeof(decoder->v2.page_data) + 8 * count +
                                decoder->contents * XENSAVE_V2_PAGE_SIZE;
}

int xensave_decoder_read_head(struct xensave_decoder *decoder,
                              struct xensave_batch_head *head,
                              struct xensave_batch_shape *shape,
                              uint64_t number, struct xensave_pfns *pfns)
{
    const char *wrong;

    head->record = decoder->record;
    if (xensave_source_read(decoder->source, &head->aligned,
                            sizeof(head->aligned)))
        return -1;
    if (!xensave_batch_fits(&decoder->header.body, &head->record,
                            &head->aligned, shape))
        return bad(decoder, "ALIGNED_PAGE_DATA with counts and lengths that "
                            "do not agree");
    if (xensave_source_read(decoder->source, head->arrays, shape->arrays))
        return -1;
    wrong = xensave_batch_verify(head, shape, decoder->header.body.file_id,
                                 number, pfns);
    if (wrong)
        return bad(decoder, wrong);
    return xensave_decoder_zeros(decoder, head->aligned.pad_length);
}

int xensave_decoder_head_read(struct xensave_decoder *decoder,
                              const struct xensave_batch_head *head,
                              const struct xensave_batch_shape *shape,
                              const struct xensave_pfns *pfns)
{
    struct xensave_index_batch entry;

    decoder->contents = pfns->contents;
    xensave_batch_entry(head, shape, pfns,
                        decoder->record_offset - decoder->start, &entry);
    xensave_checksum_add(&decoder->batches, &entry, sizeof(entry));
    xensave_checksum_add(&decoder->context, &head->aligned.checksum, 8);
    make_v2(decoder, head);
    decoder->totals.batches++;
    decoder->totals.pages_stored += head->aligned.pages;
    decoder->totals.pages_zero += pfns->contents - head->aligned.pages;
    return xensave_decoder_begin_batch(decoder);
}

static int read_page_data(struct xensave_decoder *decoder)
{
    struct xensave_pfns pfns = { 0 };

    if (xensave_decoder_read_head(decoder, &decoder->head, &decoder->shape,
                                  decoder->totals.batches, &pfns))
        return -1;
    return xensave_decoder_head_read(decoder, &decoder->head, &decoder->shape,
                                     &pfns);
}

int xensave_decoder_bad_frame(struct xensave_decoder *decoder, int errnum,
                              uint32_t frame)
{
    const uint64_t *pfns = decoder->v2.pfns;
    uint32_t last = decoder->v2.page_data.count - 1;

    if (errnum == ENOMEM)
        return xensave_fail(decoder->error, errnum,
                            "cannot allocate memory to decompress a batch");
    return xensave_decoder_fail(decoder,
                                "frame %" PRIu32
                                " of the batch of pfns 0x%" PRIx64
                                " to 0x%" PRIx64 " %s",
                                frame,
                                (uint64_t)(pfns[0] & XENSAVE_V2_PFN_MASK),
                                (uint64_t)(pfns[last] & XENSAVE_V2_PFN_MASK),
                                xensave_frame_error(errnum));
}

/* Stored pages in a row, and the ends of frames among them. */
static int read_run(struct xensave_decoder *decoder, uint8_t *to,
                    uint32_t *page, uint32_t run)
{
    struct xensave_batch_head *head = &decoder->head;
    const uint32_t frame_pages = decoder->shape.frame_pages;
    uint32_t within, part, frame;

    for (; run; run -= part, *page += part) {
        within = *page % frame_pages;
        frame = *page / frame_pages;
        part = min_u64(run, frame_pages - within);
        if (!within)
            xensave_checksum_reset(&decoder->part);
        if (xensave_decoder_read_part(decoder, to,
                                      (size_t)part * XENSAVE_V2_PAGE_SIZE))
            return -1;
        to += (size_t)part * XENSAVE_V2_PAGE_SIZE;
        if ((within + part == frame_pages ||
             *page + part == head->aligned.pages) &&
            xensave_checksum_get(&decoder->part) !=
                xensave_batch_checks(head)[frame])
            return xensave_decoder_bad_frame(decoder, EBADMSG, frame);
    }
    return 0;
}

static int read_whole(struct xensave_decoder *decoder, uint8_t *to)
{
    const uint64_t *pfns = decoder->head.arrays;
    uint32_t page = 0, run = 0;

    for (uint32_t i = 0; i < decoder->head.aligned.count; i++) {
        if (!xensave_pfn_has_contents(pfns[i]))
            continue;
        if (!(pfns[i] & XENSAVE_PFN_ZERO)) {
            run++;
            continue;
        }
        if (read_run(decoder, to, &page, run))
            return -1;
        to += (size_t)run * XENSAVE_V2_PAGE_SIZE;
        memset(to, 0, XENSAVE_V2_PAGE_SIZE);
        to += XENSAVE_V2_PAGE_SIZE;
        run = 0;
    }
    return read_run(decoder, to, &page, run);
}

/* The stored pages are opened at the end of where all of them go. */
static int read_packed(struct xensave_decoder *decoder, uint8_t *to)
{
    struct xensave_batch_head *head = &decoder->head;
    uint8_t *stored = xensave_decoder_room(decoder, &decoder->stored);
    uint8_t *pages = to + (size_t)(decoder->contents - head->aligned.pages) *
                              XENSAVE_V2_PAGE_SIZE;
    uint32_t frame;
    int r;

    if (!stored ||
        xensave_source_read(decoder->source, stored, decoder->shape.stored))
        return -1;
    r = xensave_batch_open(&decoder->unpacker, head, &decoder->shape, stored,
                           pages, &frame);
    if (r)
        return xensave_decoder_bad_frame(decoder, r, frame);
    xensave_batch_spread(head, pages, to);
    return 0;
}

static int read_pages(struct xensave_decoder *decoder, uint8_t *to)
{
    if (decoder->job)
        return xensave_decoder_take_pages(decoder, to);
    if (decoder->shape.codec ? read_packed(decoder, to)
                             : read_whole(decoder, to))
        return -1;
    return xensave_decoder_zeros(decoder,
                                 record_padding(decoder->record.length));
}

/* ---- the end ------------------------------------------------------------ */

/* A list of the index, against what has been read. */
static int read_list(struct xensave_decoder *decoder, uint64_t left,
                     struct xensave_checksum *whole,
                     const struct xensave_checksum *expected)
{
    uint8_t bytes[4096];
    size_t part;

    xensave_checksum_reset(&decoder->part);
    for (; left; left -= part) {
        part = min_u64(left, sizeof(bytes));
        if (xensave_decoder_read_part(decoder, bytes, part))
            return -1;
        xensave_checksum_add(whole, bytes, part);
    }
    if (xensave_checksum_get(&decoder->part) != xensave_checksum_get(expected))
        return bad(decoder, "ALIGNED_INDEX does not describe the records "
                            "before it");
    return 0;
}

static int read_lists(struct xensave_decoder *decoder,
                      const struct xensave_aligned_index *index,
                      struct xensave_checksum *whole)
{
    struct {
        struct xensave_v2_record_header record;
        struct xensave_aligned_index index;
    } head = { decoder->record, *index };
    uint64_t batches = index->batches * sizeof(struct xensave_index_batch),
             records = index->records * sizeof(struct xensave_index_record);

    head.index.checksum = 0;
    xensave_checksum_reset(whole);
    xensave_checksum_add(whole, decoder->header.body.file_id, XENSAVE_FILE_ID);
    xensave_checksum_add(whole, &head, sizeof(head));
    if (read_list(decoder, batches, whole, &decoder->batches) ||
        read_list(decoder, records, whole, &decoder->records))
        return -1;
    if (xensave_checksum_get(whole) != index->checksum)
        return bad(decoder, "ALIGNED_INDEX does not match its checksum");
    return 0;
}

static int read_index(struct xensave_decoder *decoder)
{
    struct xensave_aligned_index index;
    struct xensave_checksum whole;
    int r;

    if (xensave_source_read(decoder->source, &index, sizeof(index)))
        return -1;
    if (decoder->record.length != xensave_index_length(&index))
        return bad(decoder, "ALIGNED_INDEX of the wrong length");
    if (index.batches != decoder->totals.batches ||
        index.records != decoder->listed)
        return bad(decoder, "ALIGNED_INDEX does not describe the records "
                            "before it");
    decoder->index_offset = decoder->record_offset - decoder->start;
    xensave_checksum_add(&decoder->context, &index.checksum, 8);
    if (xensave_checksum_init(&whole))
        return xensave_fail(decoder->error, ENOMEM,
                            "cannot allocate memory for a checksum");
    r = read_lists(decoder, &index, &whole);
    xensave_checksum_free(&whole);
    return r;
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
    { XENSAVE_RECORD_IDENTITY, read_identity },
};

static int xensave_record(struct xensave_decoder *decoder)
{
    for (size_t i = 0; i < ARRAY_SIZE(readers); i++)
        if (readers[i].type == decoder->record.type)
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
    .listed = true,
    .record = xensave_record,
    .pages = read_pages,
    .end = xensave_end,
};
