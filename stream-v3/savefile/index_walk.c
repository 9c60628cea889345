/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The batches of a file that has no index: v2, compat, a stream that was v3. */
#include <fcntl.h>
#include <inttypes.h>

#include "index.h"

struct walk {
    struct xensave_index *index;
    uint64_t offset; /* of the record */
    uint64_t number;
    struct xensave_v2_record_header record;
    uint64_t checksum; /* of the PADDING before it, or 0 */
};

static int bad(struct walk *walk, const char *what)
{
    return xensave_fail_at(walk->index->error, EBADMSG, walk->offset,
                           walk->number, "%s; the file is damaged", what);
}

/* The heads of all batches of a large guest are many pages. */
static void forget(struct walk *walk, uint64_t end)
{
    uint64_t start = round_down(walk->offset, XENSAVE_V2_PAGE_SIZE);

    posix_fadvise(walk->index->fd, start,
                  round_up(end, XENSAVE_V2_PAGE_SIZE) - start,
                  POSIX_FADV_DONTNEED);
}

static int add(struct walk *walk, struct xensave_index_batch *entry)
{
    forget(walk, entry->page_offset);
    return xensave_index_add(walk->index, entry, walk->checksum);
}

static int walk_aligned(struct walk *walk)
{
    struct xensave_index *index = walk->index;
    const struct xensave_aligned_header *header = &index->savefile.header;
    struct xensave_batch_head *head = &index->head;
    const size_t before = offsetof(struct xensave_batch_head, arrays);
    struct xensave_index_batch entry;
    struct xensave_pfns pfns;
    const char *wrong;

    if (xensave_index_pread(index, head, before, walk->offset))
        return -1;
    if (!xensave_batch_fits(header, &head->record, &head->aligned,
                            &index->shape))
        return bad(walk, "ALIGNED_PAGE_DATA that does not fit together");
    if (xensave_index_pread(index, head->arrays, index->shape.arrays,
                            walk->offset + before))
        return -1;
    wrong = xensave_batch_verify(head, &index->shape, header->file_id,
                                 index->count, &pfns);
    if (wrong)
        return bad(walk, wrong);
    xensave_batch_entry(head, &index->shape, &pfns, walk->offset, &entry);
    return add(walk, &entry);
}

static int walk_page_data(struct walk *walk)
{
    struct xensave_v2_page_data_header header;
    struct xensave_batch_head *head = &walk->index->head;
    uint64_t at = walk->offset + sizeof(walk->record);
    struct xensave_index_batch entry;
    size_t array;

    if (walk->index->savefile.format == XENSAVE_FORMAT_V3)
        return xensave_index_left_alone(walk->index,
                                        walk->offset -
                                            walk->index->savefile
                                                .stream_start);
    if (walk->record.length < sizeof(header))
        return bad(walk, "PAGE_DATA is too short");
    if (xensave_index_pread(walk->index, &header, sizeof(header), at))
        return -1;
    if (!header.count)
        return 0;
    array = 8 * (size_t)header.count;
    if (header.count > XENSAVE_BATCH_MAX ||
        walk->record.length < sizeof(header) + array)
        return bad(walk, "PAGE_DATA of a form that Xen does not write");
    at += sizeof(header);
    if (xensave_index_pread(walk->index, head->arrays, array, at))
        return -1;
    if (!xensave_page_data_regular(&walk->record, &header, head->arrays) ||
        !xensave_index_take_pfns(head->arrays, header.count, false, &entry))
        return bad(walk, "PAGE_DATA of a form that Xen does not write");
    if (entry.first_pfn > entry.last_pfn)
        return 0;
    entry.offset = walk->offset;
    entry.page_offset = at + array;
    return add(walk, &entry);
}

static int walk_padding(struct walk *walk)
{
    struct xensave_padding padding;

    if (xensave_index_pread(walk->index, &padding, sizeof(padding),
                            walk->offset + sizeof(walk->record)))
        return -1;
    if (padding.kind == XENSAVE_PADDING_BATCH)
        walk->checksum = padding.checksum;
    return 0;
}

static const struct walk_kind {
    uint32_t type;
    int (*look)(struct walk *walk);
} kinds[] = {
    { XENSAVE_V2_RECORD_PAGE_DATA, walk_page_data },
    { XENSAVE_RECORD_PAGE_DATA, walk_aligned },
    { XENSAVE_RECORD_PADDING, walk_padding },
};

static int look_at(struct walk *walk)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (kinds[i].type == walk->record.type)
            return kinds[i].look(walk);
    return 0;
}

int xensave_index_walk(struct xensave_index *index)
{
    struct xensave_places places = { .format = index->savefile.format };
    struct walk walk = {
        .index = index,
        .offset = index->savefile.stream_start +
                  sizeof(struct xensave_v2_image_header) +
                  sizeof(struct xensave_v2_domain_header),
    };

    for (;;) {
        if (xensave_index_pread(index, &walk.record, sizeof(walk.record),
                                walk.offset))
            return -1;
        if (xensave_place(&places, &walk.record) == XENSAVE_KIND_REFUSED)
            return bad(&walk, places.why);
        if (walk.record.type == XENSAVE_V2_RECORD_END)
            return 0;
        if (look_at(&walk))
            return -1;
        if (walk.record.type != XENSAVE_RECORD_PADDING)
            walk.checksum = 0;
        walk.offset += sizeof(walk.record) + walk.record.length +
                       record_padding(walk.record.length);
        walk.number++;
    }
}
