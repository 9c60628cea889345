/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The head of a batch, held against its entry in the index. */
#include <inttypes.h>

#include "index.h"

/* With its padding, in one read. */
static const char *load_aligned(struct xensave_index *index,
                                struct xensave_index_head *slot)
{
    const struct xensave_index_batch *entry = &index->entries[slot->batch];
    const struct xensave_aligned_header *header = &index->savefile.header;
    const size_t length = entry->page_offset - entry->offset;
    const uint8_t *bytes = xensave_index_look(index, entry->offset, length);
    struct xensave_batch_head *head = &slot->head;
    struct xensave_index_batch found;
    struct xensave_pfns pfns;
    const char *wrong;
    size_t used;

    if (!bytes)
        return "";
    memcpy(head, bytes, min_u64(length, sizeof(*head)));
    if (head->record.type != XENSAVE_RECORD_PAGE_DATA ||
        head->aligned.count != entry->count ||
        head->aligned.pages != entry->pages ||
        !xensave_batch_fits(header, &head->record, &head->aligned,
                            &slot->shape))
        return "a batch with counts and lengths that do not agree";
    used = xensave_batch_head_length(&slot->shape);
    if (used + head->aligned.pad_length != length)
        return "a batch that is not as the index says";
    wrong = xensave_batch_verify(head, &slot->shape, header->file_id,
                                 slot->batch, &pfns);
    if (wrong)
        return wrong;
    xensave_batch_entry(head, &slot->shape, &pfns, entry->offset, &found);
    if (memcmp(&found, entry, sizeof(found)))
        return "a batch that is not as the index says";
    for (; used < length; used++)
        if (bytes[used])
            return "a batch with padding that is not zero";
    return NULL;
}

static const char *load_page_data(struct xensave_index *index,
                                  struct xensave_index_head *slot)
{
    const struct xensave_index_batch *entry = &index->entries[slot->batch];
    const size_t array = 8 * (size_t)entry->count;
    const uint8_t *bytes = xensave_index_look(index, entry->offset,
                                              sizeof(slot->v2) + array);
    struct xensave_pfns found;

    if (!bytes)
        return "";
    memcpy(&slot->v2, bytes, sizeof(slot->v2));
    memcpy(slot->head.arrays, bytes + sizeof(slot->v2), array);
    if (slot->v2.record.type != XENSAVE_V2_RECORD_PAGE_DATA ||
        slot->v2.page_data.count != entry->count ||
        !xensave_page_data_regular(&slot->v2.record, &slot->v2.page_data,
                                   slot->head.arrays, &found) ||
        found.stored != entry->pages || found.first != entry->first_pfn ||
        found.last != entry->last_pfn)
        return "a batch that has changed";
    return NULL;
}

int xensave_index_load_head(struct xensave_index *index, uint64_t batch)
{
    struct xensave_index_head *slot = index->heads,
                              *end = slot + XENSAVE_INDEX_CACHED;
    const char *wrong;

    for (struct xensave_index_head *at = slot; at < end; at++) {
        if (at->batch == batch) {
            slot = at;
            break;
        }
        if (at->used < slot->used)
            slot = at;
    }
    slot->used = ++index->uses;
    index->head = slot;
    if (slot->batch == batch)
        return 0;
    slot->batch = batch;
    wrong = index->savefile.format == XENSAVE_FORMAT_V3
                ? load_aligned(index, slot)
                : load_page_data(index, slot);
    if (!wrong)
        return 0;
    slot->batch = UINT64_MAX;
    return xensave_fail(index->error, EBADMSG,
                        "%s at offset %" PRIu64 "; the file is damaged", wrong,
                        index->entries[batch].offset);
}
