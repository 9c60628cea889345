/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spec 3.5 from the reader's side: which batch holds a page. */
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "stream-v3/codec/checksum.h"
#include "index.h"
#include "walk.h"

static int damaged(struct xensave_index *index, uint64_t offset,
                   const char *what)
{
    return xensave_fail(index->error, EBADMSG,
                        "%s at offset %" PRIu64 "; the file is damaged", what,
                        offset);
}

int xensave_index_pread(struct xensave_index *index, void *data, size_t length,
                        uint64_t offset)
{
    if (!pread_exact(index->fd, data, length, offset))
        return 0;
    if (errno == ENODATA)
        return xensave_fail(index->error, ENODATA,
                            "the file ends before offset %" PRIu64
                            ", in the midst of a record; it is not whole",
                            offset + length);
    return xensave_fail(index->error, errno,
                        "reading %zu bytes at offset %" PRIu64 ": %s", length,
                        offset, strerror(errno));
}

/* ---- entries ------------------------------------------------------------ */

static int add(struct xensave_index *index,
               const struct xensave_index_entry *entry, uint64_t checksum)
{
    size_t capacity = index->capacity ? index->capacity * 2 : 256;
    void *grown;

    if (index->count == XENSAVE_INDEX_MAX)
        return xensave_fail(index->error, EFBIG,
                            "more than %zu batches with "
                            "pages; this reader takes no more",
                            XENSAVE_INDEX_MAX);
    if (index->count == index->capacity) {
        grown = realloc(index->entries, capacity * sizeof(*entry));
        if (!grown)
            goto no_memory;
        index->entries = grown;
        grown = realloc(index->checksums,
                        capacity * sizeof(*index->checksums));
        if (!grown)
            goto no_memory;
        index->checksums = grown;
        index->capacity = capacity;
    }
    index->entries[index->count] = *entry;
    index->checksums[index->count++] = checksum;
    if (entry->last_pfn >= index->end)
        index->end = entry->last_pfn + 1;
    return 0;

no_memory:
    return xensave_fail(index->error, ENOMEM,
                        "cannot allocate %zu index entries", capacity);
}

/* ---- the index record --------------------------------------------------- */

static bool entry_fits(const struct xensave_index *index,
                       const struct xensave_index_entry *entry, uint64_t after)
{
    const struct xensave_aligned_header *header = &index->savefile.header;

    return entry->offset >= after && entry->offset < header->index_offset &&
           entry->first_pfn <= entry->last_pfn &&
           entry->last_pfn <= XENSAVE_V2_PFN_MASK && entry->count &&
           entry->count <= XENSAVE_BATCH_MAX && entry->pages <= entry->count &&
           (entry->pages ? entry->page_offset > entry->offset
                         : !entry->page_offset);
}

static int load_entries(struct xensave_index *index,
                        struct xensave_checksum *checksum, uint64_t entries)
{
    const uint64_t start = index->savefile.stream_start;
    uint64_t offset = start + index->savefile.header.index_offset +
                      sizeof(struct xensave_v2_record_header) +
                      sizeof(struct xensave_aligned_index);
    struct xensave_index_entry some[256];
    uint64_t after = 0;
    size_t n;

    for (; entries; entries -= n, offset += n * sizeof(some[0])) {
        n = min_u64(entries, ARRAY_SIZE(some));
        if (xensave_index_pread(index, some, n * sizeof(some[0]), offset))
            return -1;
        xensave_checksum_add(checksum, some, n * sizeof(some[0]));
        for (size_t i = 0; i < n; i++) {
            if (!entry_fits(index, &some[i], after))
                return damaged(index, offset + i * sizeof(some[0]),
                               "an invalid index entry");
            after = some[i].offset + 1;
            some[i].offset += start;
            if (some[i].pages)
                some[i].page_offset += start;
            if (add(index, &some[i], 0))
                return -1;
        }
    }
    return 0;
}

static int load_record(struct xensave_index *index)
{
    uint64_t offset = index->savefile.stream_start +
                      index->savefile.header.index_offset,
             expected;
    struct {
        struct xensave_v2_record_header record;
        struct xensave_aligned_index body;
    } head;
    struct xensave_checksum checksum;
    int rc = -1;

    if (xensave_index_pread(index, &head, sizeof(head), offset))
        return -1;
    if (head.record.type != XENSAVE_RECORD_INDEX || head.body.reserved ||
        head.body.entries > XENSAVE_INDEX_MAX ||
        head.record.length !=
            sizeof(head.body) +
                head.body.entries * sizeof(struct xensave_index_entry))
        return damaged(index, offset, "no ALIGNED_INDEX that fits together");
    if (xensave_checksum_init(&checksum))
        return xensave_fail(index->error, ENOMEM, "out of memory");
    expected = head.body.checksum;
    head.body.checksum = 0;
    xensave_checksum_reset(&checksum);
    xensave_checksum_add(&checksum, &head, sizeof(head));
    if (load_entries(index, &checksum, head.body.entries))
        goto out;
    if (xensave_checksum_get(&checksum) != expected)
        damaged(index, offset, "an ALIGNED_INDEX with a wrong checksum");
    else
        rc = 0;

out:
    xensave_checksum_free(&checksum);
    return rc;
}

/* ---- without one: v2, compat, a stream that was v3 ---------------------- */

static int add_record(struct xensave_index *index,
                      const struct xensave_record *record, uint64_t number)
{
    const struct xensave_index_entry entry = {
        .offset = record->offset,
        .first_pfn = record->first_pfn,
        .last_pfn = record->last_pfn,
        .count = record->pfns,
        .pages = record->pages,
        .page_offset = record->page_offset,
    };

    if (record->type == XENSAVE_V2_RECORD_PAGE_DATA &&
        (record->irregular || index->savefile.format == XENSAVE_FORMAT_V3))
        return xensave_fail_at(
            index->error, ENOTSUP, record->offset, number,
            "a PAGE_DATA of a form that Xen does not write: single pages of "
            "this file cannot be found; it restores, and converts, all the "
            "same");
    return record->pfns && entry.first_pfn <= entry.last_pfn
               ? add(index, &entry, record->checksum)
               : 0;
}

static int load_records(struct xensave_index *index)
{
    struct xensave_walk *walk = xensave_walk_new(index->fd, &index->savefile,
                                                 index->error);
    struct xensave_record record;
    int r = walk ? 0 : -1;

    for (uint64_t number = 0; !r; number++) {
        if (xensave_walk_next(walk, &record) < 0)
            r = -1;
        else if (record.type == XENSAVE_V2_RECORD_END)
            break;
        else
            r = add_record(index, &record, number);
    }
    xensave_walk_free(walk);
    return r;
}

/* ---- batches ------------------------------------------------------------ */

int xensave_index_load_head(struct xensave_index *index, uint64_t batch)
{
    const struct xensave_index_entry *entry = &index->entries[batch];
    const bool v3 = index->savefile.format == XENSAVE_FORMAT_V3;
    struct xensave_index_head *head = &index->head;
    struct xensave_pfns found;
    uint64_t offset = entry->offset, at = offset + sizeof(head->record);
    size_t body = v3 ? sizeof(head->aligned) : sizeof(head->page_data);
    size_t array = 8 * entry->count;
    uint64_t pages;

    if (xensave_index_pread(index, &head->record, sizeof(head->record),
                            offset) ||
        xensave_index_pread(index, &head->aligned, body, at) ||
        xensave_index_pread(index, head->pfns, array, at + body))
        return -1;
    index->stored = entry->pages * XENSAVE_V2_PAGE_SIZE;
    pages = at + body + array;
    if (v3) {
        if (head->record.type != XENSAVE_RECORD_PAGE_DATA ||
            head->aligned.count != entry->count ||
            head->aligned.pages != entry->pages ||
            !xensave_batch_fits(&index->savefile.header, &head->record,
                                &head->aligned, &index->stored))
            goto bad;
        pages += head->aligned.pad_length;
    } else if (head->record.type != XENSAVE_V2_RECORD_PAGE_DATA ||
               head->page_data.count != entry->count ||
               head->page_data.reserved ||
               head->record.length != body + array + index->stored) {
        goto bad;
    }
    if ((entry->pages && entry->page_offset != pages) ||
        !xensave_pfns_check(head->pfns, entry->count, v3, &found) ||
        found.stored != entry->pages || found.first != entry->first_pfn ||
        found.last != entry->last_pfn)
        goto bad;
    return 0;

bad:
    return damaged(index, offset, "a batch that is not as the index says");
}

/* ---- public ------------------------------------------------------------- */

PUBLIC struct xensave_index *xensave_index_open(
    int fd, const struct xensave_file *savefile, struct xensave_error *error)
{
    struct xensave_index *index = calloc(1, sizeof(*index));
    int r;

    memset(error, 0, sizeof(*error));
    if (!index) {
        xensave_fail(error, ENOMEM, "out of memory");
        return NULL;
    }
    index->fd = fd;
    index->savefile = *savefile;
    index->error = error;
    for (size_t i = 0; i < XENSAVE_INDEX_CACHED; i++)
        index->cached[i].batch = UINT64_MAX;
    index->direct = xensave_direct_alignment(fd) == XENSAVE_V2_PAGE_SIZE
                        ? fd_reopen(fd, O_RDONLY | O_DIRECT)
                        : -1;
    if (savefile->format == XENSAVE_FORMAT_V3 && savefile->header.index_offset)
        r = load_record(index);
    else
        r = load_records(index);
    if (r) {
        xensave_index_free(index);
        return NULL;
    }
    return index;
}

PUBLIC void xensave_index_free(struct xensave_index *index)
{
    if (!index)
        return;
    if (index->direct >= 0)
        close(index->direct);
    for (size_t i = 0; i < XENSAVE_INDEX_CACHED; i++)
        free(index->cached[i].pages);
    xensave_unpacker_free(&index->unpacker);
    free(index->entries);
    free(index->checksums);
    free(index);
}

PUBLIC uint64_t xensave_index_end(const struct xensave_index *index)
{
    return index->end;
}

PUBLIC uint64_t xensave_index_batches(const struct xensave_index *index)
{
    return index->count;
}
