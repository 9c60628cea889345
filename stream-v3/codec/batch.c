/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spec 3.2: one batch, apart from where its bytes come from or go to. */
#include <xxh_x86dispatch.h>

#include "batch.h"

/* ---- the head ----------------------------------------------------------- */

void xensave_batch_shape(const struct xensave_aligned_page_data *aligned,
                         struct xensave_batch_shape *shape)
{
    uint32_t log = (aligned->flags & XENSAVE_BATCH_FRAME_MASK) >>
                   XENSAVE_BATCH_FRAME_SHIFT;

    shape->codec = xensave_batch_codec(aligned);
    shape->frame_pages = 1U << log;
    shape->frames = (aligned->pages + shape->frame_pages - 1) >> log;
    shape->arrays = 8 * aligned->count + XENSAVE_FRAME_ENTRY * shape->frames;
    shape->stored = 0;
}

static bool stored_fits(const struct xensave_aligned_header *header,
                        const struct xensave_aligned_page_data *aligned,
                        const struct xensave_batch_shape *shape)
{
    uint32_t contents = aligned->pages * XENSAVE_V2_PAGE_SIZE;

    if (shape->codec == XENSAVE_CODEC_NONE)
        return shape->stored == contents;
    return xensave_codec_find(shape->codec) &&
           (header->mandatory_features &
            xensave_codec_feature(shape->codec)) &&
           shape->stored && aligned->pages > 1 &&
           shape->stored <= contents - XENSAVE_V2_PAGE_SIZE;
}

bool xensave_batch_fits(const struct xensave_aligned_header *header,
                        const struct xensave_v2_record_header *record,
                        const struct xensave_aligned_page_data *aligned,
                        struct xensave_batch_shape *shape)
{
    uint64_t before;

    if (!aligned->count || aligned->count > XENSAVE_BATCH_MAX ||
        aligned->pages > aligned->count ||
        (aligned->flags & ~XENSAVE_BATCH_FLAGS) ||
        aligned->pad_length >= 2 * header->alignment ||
        (!aligned->pages && aligned->pad_length))
        return false;
    xensave_batch_shape(aligned, shape);
    if (shape->frame_pages > 1U << XENSAVE_FRAME_LOG_MAX)
        return false;
    before = sizeof(*aligned) + shape->arrays + aligned->pad_length;
    if (record->length < before)
        return false;
    shape->stored = record->length - before;
    return stored_fits(header, aligned, shape);
}

static uint64_t contents_of(const struct xensave_batch_head *head,
                            const struct xensave_batch_shape *shape)
{
    return XXH3_64bits(head->arrays, shape->arrays);
}

static uint64_t checksum_of(const struct xensave_batch_head *head,
                            const uint8_t *file_id)
{
    struct {
        uint8_t file_id[XENSAVE_FILE_ID];
        struct xensave_v2_record_header record;
        struct xensave_aligned_page_data aligned;
    } whole = { .record = head->record, .aligned = head->aligned };

    memcpy(whole.file_id, file_id, sizeof(whole.file_id));
    whole.aligned.checksum = 0;
    return XXH3_64bits(&whole, sizeof(whole));
}

static bool table_fits(struct xensave_batch_head *head,
                       const struct xensave_batch_shape *shape)
{
    const xensave_frame_end *end = xensave_batch_ends(head, shape->frames);
    uint32_t left = head->aligned.pages, begin = 0, pages, length;

    for (uint32_t i = 0; i < shape->frames; i++) {
        pages = min_u64(left, shape->frame_pages);
        length = pages * XENSAVE_V2_PAGE_SIZE;
        if (end[i] <= begin || end[i] - begin > length ||
            (!shape->codec && end[i] - begin != length))
            return false;
        begin = end[i];
        left -= pages;
    }
    return begin == shape->stored;
}

const char *xensave_batch_verify(struct xensave_batch_head *head,
                                 const struct xensave_batch_shape *shape,
                                 const uint8_t *file_id, uint64_t number,
                                 struct xensave_pfns *pfns)
{
    if (head->aligned.number != number)
        return "ALIGNED_PAGE_DATA of another place: its number is not the "
               "next";
    if (!xensave_pfns_check(xensave_batch_pfns(head), head->aligned.count,
                            true, pfns) ||
        pfns->stored != head->aligned.pages)
        return "ALIGNED_PAGE_DATA with pfns that do not agree with its "
               "counts";
    if (!table_fits(head, shape))
        return "ALIGNED_PAGE_DATA with frames that do not agree with its "
               "length";
    if (head->aligned.contents != contents_of(head, shape) ||
        head->aligned.checksum != checksum_of(head, file_id))
        return "ALIGNED_PAGE_DATA with a head that does not match its "
               "checksum, or of another stream";
    return NULL;
}

void xensave_batch_whole_frames(struct xensave_batch_head *head,
                                struct xensave_batch_shape *shape)
{
    xensave_frame_end *end = xensave_batch_ends(head, shape->frames);

    shape->stored = head->aligned.pages * XENSAVE_V2_PAGE_SIZE;
    for (uint32_t i = 0; i < shape->frames; i++)
        end[i] = min_u64((i + 1) * shape->frame_pages * XENSAVE_V2_PAGE_SIZE,
                         shape->stored);
}

void xensave_batch_check_frames(struct xensave_batch_head *head,
                                const struct xensave_batch_shape *shape,
                                const uint8_t *stored)
{
    const xensave_frame_end *end = xensave_batch_ends(head, shape->frames);
    uint32_t begin = 0;

    for (uint32_t i = 0; i < shape->frames; begin = end[i++])
        xensave_batch_checks(head)[i] = XXH3_64bits(stored + begin,
                                                    end[i] - begin);
}

void xensave_batch_seal(struct xensave_batch_head *head,
                        const struct xensave_batch_shape *shape,
                        const uint8_t *file_id)
{
    head->record.type = XENSAVE_RECORD_PAGE_DATA;
    head->record.length = sizeof(head->aligned) + shape->arrays +
                          head->aligned.pad_length + shape->stored;
    head->aligned.contents = contents_of(head, shape);
    head->aligned.checksum = checksum_of(head, file_id);
}

void xensave_batch_entry(const struct xensave_batch_head *head,
                         const struct xensave_batch_shape *shape,
                         const struct xensave_pfns *pfns, uint64_t offset,
                         struct xensave_index_batch *entry)
{
    const struct xensave_aligned_page_data *aligned = &head->aligned;
    uint64_t arrays = offset + offsetof(struct xensave_batch_head, arrays);

    *entry = (struct xensave_index_batch){
        .offset = offset,
        .page_offset = arrays + (aligned->pages
                                     ? shape->arrays + aligned->pad_length
                                     : 8ULL * aligned->count),
        .first_pfn = pfns->first,
        .last_pfn = pfns->last,
        .count = aligned->count,
        .pages = aligned->pages,
        .stored = shape->stored,
        .flags = aligned->flags,
        .contents = aligned->contents,
        .checksum = aligned->checksum,
    };
}

/* ---- frames ------------------------------------------------------------- */

struct xensave_frame xensave_batch_frame(
    struct xensave_batch_head *head, const struct xensave_batch_shape *shape,
    uint32_t number)
{
    const xensave_frame_end *end = xensave_batch_ends(head, shape->frames);
    struct xensave_frame frame = {
        .begin = number ? end[number - 1] : 0,
        .page = number * shape->frame_pages,
        .check = xensave_batch_checks(head)[number],
    };

    frame.length = end[number] - frame.begin;
    frame.pages = min_u64(shape->frame_pages,
                          head->aligned.pages - frame.page);
    return frame;
}

int xensave_frame_open(struct xensave_unpacker *unpacker, uint32_t codec,
                       const struct xensave_frame *frame,
                       const uint8_t *stored, uint8_t *to)
{
    size_t length = (size_t)frame->pages * XENSAVE_V2_PAGE_SIZE;

    if (XXH3_64bits(stored, frame->length) != frame->check)
        return EBADMSG;
    if (frame->length < length)
        return xensave_unpack(unpacker, codec, to, length, stored,
                              frame->length);
    if (to != stored)
        memcpy(to, stored, length);
    return 0;
}

int xensave_batch_open(struct xensave_unpacker *unpacker,
                       struct xensave_batch_head *head,
                       const struct xensave_batch_shape *shape,
                       const uint8_t *stored, uint8_t *to, uint32_t *failed)
{
    struct xensave_frame frame;
    int r;

    for (uint32_t i = 0; i < shape->frames; i++) {
        frame = xensave_batch_frame(head, shape, i);
        *failed = i;
        r = xensave_frame_open(unpacker, shape->codec, &frame,
                               stored + frame.begin,
                               to + (size_t)frame.page * XENSAVE_V2_PAGE_SIZE);
        if (r)
            return r;
    }
    return 0;
}

void xensave_batch_spread(const struct xensave_batch_head *head,
                          const uint8_t *from, uint8_t *to)
{
    for (uint32_t i = 0; i < head->aligned.count; i++) {
        if (!xensave_pfn_has_contents(head->arrays[i]))
            continue;
        if (head->arrays[i] & XENSAVE_PFN_ZERO) {
            memset(to, 0, XENSAVE_V2_PAGE_SIZE);
        } else {
            if (to != from)
                memmove(to, from, XENSAVE_V2_PAGE_SIZE);
            from += XENSAVE_V2_PAGE_SIZE;
        }
        to += XENSAVE_V2_PAGE_SIZE;
    }
}

const char *xensave_frame_error(int errnum)
{
    if (errnum == EBADMSG)
        return "does not match its checksum; the stream is damaged";
    if (errnum == EPROTO)
        return "does not decompress to its pages; whatever wrote the stream "
               "is broken";
    return "cannot be decompressed: no memory";
}
