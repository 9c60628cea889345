/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checksums stop a fuzzer at the first changed byte.  This makes them right
 * again, so that what lies behind them is reached: whatever the lengths and
 * counts say, and without using the library that is being tested.
 */
#include <string.h>

/* Its states, as variables. */
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include "fuzz.h"

#define RECORDS_MAX 256
#define RECORD      sizeof(struct xensave_v2_record_header)

struct sealer {
    const struct fuzz_seal *seal;
    XXH3_state_t context, batch;
    uint8_t file_id[XENSAVE_FILE_ID];
    struct xensave_aligned_check totals;
    uint64_t index_offset;
    size_t end;      /* of the stream in data */
    uint8_t *header; /* ALIGNED_HEADER, if it is the first */
    size_t header_length;
    uint8_t *padding; /* PADDING that the next record belongs to */
};

/* The pfns that lie in the record, whatever its count. */
static size_t pfns_in(const struct fuzz_record *record, size_t header,
                      uint32_t count)
{
    size_t room = record->length < header ? 0 : (record->length - header) / 8;

    return count < room ? count : room;
}

static void seal_batch(struct sealer *sealer, const struct fuzz_record *record)
{
    uint8_t *body = sealer->seal->data + record->offset + RECORD;
    struct xensave_aligned_page_data head;
    size_t pfns, arrays, frames, begin = 0, zeros = 0, contents;
    uint32_t log, end;
    uint64_t pfn, check;

    if (record->length < sizeof(head))
        return;
    memcpy(&head, body, sizeof(head));
    pfns = pfns_in(record, sizeof(head), head.count);
    log = (head.flags & XENSAVE_BATCH_FRAME_MASK) >> XENSAVE_BATCH_FRAME_SHIFT;
    frames = ((uint64_t)head.pages + (1U << log) - 1) >> log;
    arrays = sizeof(head) + 8 * pfns;
    if (frames > (record->length - arrays) / 12)
        frames = (record->length - arrays) / 12;
    contents = arrays + 12 * frames + (size_t)head.pad_length;
    /* The checks of frames that lie in the record. */
    for (size_t i = 0; i < frames; i++, begin = end) {
        memcpy(&end, body + arrays + 8 * frames + 4 * i, sizeof(end));
        if (end < begin || contents > record->length ||
            end > record->length - contents)
            break;
        check = XXH3_64bits(body + contents + begin, end - begin);
        memcpy(body + arrays + 8 * i, &check, sizeof(check));
    }
    head.contents = XXH3_64bits(body + sizeof(head), 8 * pfns + 12 * frames);
    head.number = sealer->totals.batches;
    head.checksum = 0;
    XXH3_64bits_reset(&sealer->batch);
    XXH3_64bits_update(&sealer->batch, sealer->file_id, XENSAVE_FILE_ID);
    XXH3_64bits_update(&sealer->batch, body - RECORD, RECORD);
    XXH3_64bits_update(&sealer->batch, &head, sizeof(head));
    head.checksum = XXH3_64bits_digest(&sealer->batch);
    memcpy(body, &head, sizeof(head));
    XXH3_64bits_update(&sealer->context, &head.checksum, 8);
    for (size_t i = 0; i < pfns; i++) {
        memcpy(&pfn, body + sizeof(head) + 8 * i, 8);
        zeros += !!(pfn & XENSAVE_PFN_ZERO);
    }
    sealer->totals.batches++;
    sealer->totals.pages_stored += head.pages;
    sealer->totals.pages_zero += zeros;
}

static void seal_index(struct sealer *sealer, const struct fuzz_record *record)
{
    uint8_t *body = sealer->seal->data + record->offset + RECORD;
    uint64_t checksum = 0;

    if (record->length < sizeof(struct xensave_aligned_index))
        return;
    sealer->index_offset = record->offset - sealer->seal->start;
    memcpy(body + 8, &checksum, 8);
    XXH3_64bits_reset(&sealer->batch);
    XXH3_64bits_update(&sealer->batch, sealer->file_id, XENSAVE_FILE_ID);
    XXH3_64bits_update(&sealer->batch, body - RECORD, RECORD + record->length);
    checksum = XXH3_64bits_digest(&sealer->batch);
    memcpy(body + 8, &checksum, 8);
    XXH3_64bits_update(&sealer->context, &checksum, 8);
}

static void seal_check(struct sealer *sealer, const struct fuzz_record *record)
{
    uint8_t *body = sealer->seal->data + record->offset + RECORD;
    struct xensave_aligned_check check;

    if (record->length != sizeof(check))
        return;
    memcpy(&check, body, sizeof(check));
    if (sealer->seal->totals)
        check = sealer->totals;
    XXH3_64bits_update(&sealer->context, body - RECORD, RECORD);
    XXH3_64bits_update(&sealer->context, &check, sizeof(check) - 8);
    check.checksum = XXH3_64bits_digest(&sealer->context);
    memcpy(body, &check, sizeof(check));
}

static void begin_padding(struct sealer *sealer,
                          const struct fuzz_record *record)
{
    uint8_t *body = sealer->seal->data + record->offset + RECORD;
    struct xensave_padding padding;

    if (record->length < sizeof(padding))
        return;
    memcpy(&padding, body, sizeof(padding));
    if (padding.kind == XENSAVE_PADDING_BATCH) {
        sealer->padding = body;
    } else if (padding.kind == XENSAVE_PADDING_START) {
        padding.checksum = 0;
        memcpy(body, &padding, sizeof(padding));
        padding.checksum = XXH3_64bits(body - RECORD,
                                       RECORD + sizeof(padding));
        memcpy(body, &padding, sizeof(padding));
    }
}

/* compat: the checksum lies in the record before. */
static void seal_padding(struct sealer *sealer,
                         const struct fuzz_record *record)
{
    uint8_t *body = sealer->seal->data + record->offset + RECORD;
    struct xensave_v2_page_data_header head;
    uint64_t checksum;
    size_t pages;

    if (!sealer->padding || record->length < sizeof(head))
        return;
    memcpy(&head, body, sizeof(head));
    pages = sizeof(head) + 8 * pfns_in(record, sizeof(head), head.count);
    XXH3_64bits_reset(&sealer->batch);
    XXH3_64bits_update(&sealer->batch, body + pages, record->length - pages);
    XXH3_64bits_update(&sealer->batch, body - RECORD, RECORD + pages);
    checksum = XXH3_64bits_digest(&sealer->batch);
    memcpy(sealer->padding + offsetof(struct xensave_padding, checksum),
           &checksum, sizeof(checksum));
    sealer->padding = NULL;
}

static void seal_record(struct sealer *sealer,
                        const struct fuzz_record *record)
{
    uint8_t *at = sealer->seal->data + record->offset;
    uint64_t checksum;

    switch (record->type) {
    case XENSAVE_RECORD_HEADER:
        if (!sealer->totals.records &&
            record->length >= sizeof(struct xensave_aligned_header)) {
            sealer->header = at;
            sealer->header_length = record->length;
        }
        break;
    case XENSAVE_RECORD_PAGE_DATA:
        seal_batch(sealer, record);
        break;
    case XENSAVE_RECORD_INDEX:
        seal_index(sealer, record);
        break;
    case XENSAVE_RECORD_CHECK:
        seal_check(sealer, record);
        break;
    case XENSAVE_RECORD_PADDING:
        begin_padding(sealer, record);
        break;
    default:
        if (record->type == XENSAVE_V2_RECORD_PAGE_DATA)
            seal_padding(sealer, record);
        XXH3_64bits_reset(&sealer->batch);
        XXH3_64bits_update(&sealer->batch, sealer->file_id, XENSAVE_FILE_ID);
        XXH3_64bits_update(&sealer->batch, at, record->bytes);
        checksum = XXH3_64bits_digest(&sealer->batch);
        XXH3_64bits_update(&sealer->context, &checksum, 8);
    }
    sealer->totals.records++;
    sealer->end = record->offset + record->bytes;
}

static void put_header(uint8_t *at, struct xensave_aligned_header *header,
                       size_t length)
{
    header->header_checksum = 0;
    memcpy(at + RECORD, header, sizeof(*header));
    header->header_checksum = XXH3_64bits(at, RECORD + length);
    memcpy(at + RECORD, header, sizeof(*header));
}

static void seal_header(const struct sealer *sealer)
{
    const struct fuzz_seal *seal = sealer->seal;
    struct xensave_aligned_header header;

    memcpy(&header, sealer->header + RECORD, sizeof(header));
    if (seal->totals && header.state != XENSAVE_STATE_STREAMED) {
        header.stream_start = seal->offset;
        header.stream_length = sealer->end - seal->start;
        header.index_offset = sealer->index_offset;
        header.batches = sealer->totals.batches;
        header.pages_stored = sealer->totals.pages_stored;
        header.pages_zero = sealer->totals.pages_zero;
    }
    if (seal->totals && header.state == XENSAVE_STATE_COMPLETE)
        header.file_length = seal->file
                                 ? seal->size
                                 : header.stream_start + header.stream_length;
    if (seal->file && header.state == XENSAVE_STATE_COMPLETE) {
        header.head_checksum = XXH3_64bits(seal->data, seal->start);
        header.tail_checksum = XXH3_64bits(seal->data + sealer->end,
                                           seal->size - sealer->end);
    }
    put_header(sealer->header, &header, sealer->header_length);
}

void fuzz_seal(const struct fuzz_seal *seal)
{
    static struct fuzz_record records[RECORDS_MAX];
    static struct sealer sealer;
    size_t count;

    if (seal->start > seal->size || seal->size - seal->start < FUZZ_HEADERS)
        return;
    memset(&sealer, 0, sizeof(sealer));
    sealer.seal = seal;
    sealer.end = seal->start + FUZZ_HEADERS;
    count = fuzz_records(seal->data, seal->size, seal->start, records,
                         RECORDS_MAX);
    XXH3_64bits_reset(&sealer.context);
    if (count && records[0].type == XENSAVE_RECORD_HEADER &&
        records[0].length >= sizeof(struct xensave_aligned_header)) {
        memcpy(sealer.file_id,
               seal->data + records[0].offset + RECORD +
                   offsetof(struct xensave_aligned_header, file_id),
               XENSAVE_FILE_ID);
        XXH3_64bits_update(&sealer.context, sealer.file_id, XENSAVE_FILE_ID);
    }
    XXH3_64bits_update(&sealer.context, seal->data + seal->start,
                       FUZZ_HEADERS);
    for (size_t i = 0; i < count; i++)
        seal_record(&sealer, &records[i]);
    if (sealer.header)
        seal_header(&sealer);
}

void fuzz_make_streamed(uint8_t *stream, size_t size)
{
    uint8_t *at = stream + FUZZ_HEADERS;
    struct xensave_aligned_header header;

    FUZZ_ASSERT(size >= FUZZ_HEADERS + RECORD + sizeof(header), NULL);
    memcpy(&header, at + RECORD, sizeof(header));
    FUZZ_ASSERT(header.state == XENSAVE_STATE_UNFINISHED, NULL);
    FUZZ_ASSERT(header.stream_length == size, NULL);
    header.state = XENSAVE_STATE_STREAMED;
    header.stream_length = header.index_offset = header.batches =
        header.pages_stored = header.pages_zero = 0;
    put_header(at, &header, sizeof(header));
}
