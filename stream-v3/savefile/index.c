/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spec 3.5 from the reader's side: which batch holds a page. */
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "stream-v3/codec/checksum.h"
#include "index.h"

static int damaged(struct v3_index *index, uint64_t offset, const char *what)
{
    return v3_fail(index->error, EBADMSG,
                   "%s at offset %" PRIu64 "; the file is damaged", what,
                   offset);
}

int v3_index_pread(struct v3_index *index, void *data, size_t length,
                   uint64_t offset)
{
    if (!v3_pread_exact(index->fd, data, length, offset))
        return 0;
    if (errno == ENODATA)
        return v3_fail(index->error, ENODATA,
                       "the file ends before offset %" PRIu64
                       ", in the midst of a record; it is not whole",
                       offset + length);
    return v3_fail(index->error, errno, "reading %zu octets at offset %"
                   PRIu64 ": %s", length, offset, strerror(errno));
}

/* ---- entries ------------------------------------------------------------ */

int v3_index_add(struct v3_index *index, const struct v3_index_entry *entry,
                 uint64_t checksum)
{
    size_t capacity = index->capacity ? index->capacity * 2 : 256;
    void *grown;

    if (index->count == V3_INDEX_MAX)
        return v3_fail(index->error, EFBIG, "more than %zu batches with "
                       "pages; this reader takes no more", V3_INDEX_MAX);
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
    return v3_fail(index->error, ENOMEM, "cannot allocate %zu index entries",
                   capacity);
}

bool v3_index_take_pfns(const uint64_t *pfns, uint32_t count, bool zero_bit,
                        struct v3_index_entry *entry)
{
    entry->count = count;
    entry->pages = 0;
    entry->first_pfn = UINT64_MAX;
    entry->last_pfn = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t pfn = pfns[i] & V2_PFN_MASK;
        bool zero = zero_bit && (pfns[i] & V3_PFN_ZERO);

        if (pfns[i] & (zero_bit ? V3_PFN_RESERVED : V2_PFN_RESERVED))
            return false;
        if (!v3_pfn_has_contents(pfns[i])) {
            if (zero)
                return false;
            continue;
        }
        entry->pages += !zero;
        if (pfn < entry->first_pfn)
            entry->first_pfn = pfn;
        if (pfn > entry->last_pfn)
            entry->last_pfn = pfn;
    }
    return true;
}

/* ---- the index record --------------------------------------------------- */

static bool entry_fits(const struct v3_index *index,
                       const struct v3_index_entry *entry, uint64_t after)
{
    const struct v3_aligned_header *header = &index->savefile.header;

    return entry->offset >= after && entry->offset < header->index_offset &&
           entry->first_pfn <= entry->last_pfn &&
           entry->last_pfn <= V2_PFN_MASK &&
           entry->count && entry->count <= V3_BATCH_MAX &&
           entry->pages <= entry->count &&
           (entry->pages ? entry->page_offset > entry->offset
                         : !entry->page_offset);
}

static int load_entries(struct v3_index *index,
                        struct v3_checksum *checksum, uint64_t entries)
{
    const uint64_t start = index->savefile.stream_start;
    uint64_t offset = start + index->savefile.header.index_offset +
                      sizeof(struct v2_record_header) +
                      sizeof(struct v3_aligned_index);
    struct v3_index_entry some[256];
    uint64_t after = 0;
    size_t n;

    for (; entries; entries -= n, offset += n * sizeof(some[0])) {
        n = min_u64(entries, ARRAY_SIZE(some));
        if (v3_index_pread(index, some, n * sizeof(some[0]), offset))
            return -1;
        v3_checksum_add(checksum, some, n * sizeof(some[0]));
        for (size_t i = 0; i < n; i++) {
            if (!entry_fits(index, &some[i], after))
                return damaged(index, offset + i * sizeof(some[0]),
                               "an index entry that cannot be");
            after = some[i].offset + 1;
            some[i].offset += start;
            if (some[i].pages)
                some[i].page_offset += start;
            if (v3_index_add(index, &some[i], 0))
                return -1;
        }
    }
    return 0;
}

static int load_record(struct v3_index *index)
{
    uint64_t offset = index->savefile.stream_start +
                      index->savefile.header.index_offset, expected;
    struct {
        struct v2_record_header record;
        struct v3_aligned_index body;
    } head;
    struct v3_checksum checksum;
    int rc = -1;

    if (v3_index_pread(index, &head, sizeof(head), offset))
        return -1;
    if (head.record.type != V3_RECORD_INDEX || head.body.reserved ||
        head.body.entries > V3_INDEX_MAX ||
        head.record.length != sizeof(head.body) + head.body.entries *
                              sizeof(struct v3_index_entry))
        return damaged(index, offset, "no ALIGNED_INDEX that fits together");
    if (v3_checksum_init(&checksum))
        return v3_fail(index->error, ENOMEM, "out of memory");
    expected = head.body.checksum;
    head.body.checksum = 0;
    v3_checksum_reset(&checksum);
    v3_checksum_add(&checksum, &head, sizeof(head));
    if (load_entries(index, &checksum, head.body.entries))
        goto out;
    if (v3_checksum_get(&checksum) != expected)
        damaged(index, offset, "an ALIGNED_INDEX with a wrong checksum");
    else
        rc = 0;

out:
    v3_checksum_free(&checksum);
    return rc;
}

/* ---- batches ------------------------------------------------------------ */

int v3_index_load_head(struct v3_index *index, uint64_t batch)
{
    const struct v3_index_entry *entry = &index->entries[batch];
    const bool v3 = index->savefile.format == V3_FORMAT_V3;
    struct v3_index_head *head = &index->head;
    struct v3_index_entry found;
    uint64_t offset = entry->offset, at = offset + sizeof(head->record);
    size_t body = v3 ? sizeof(head->aligned) : sizeof(head->page_data);
    size_t array = 8 * entry->count;
    uint64_t pages;

    if (v3_index_pread(index, &head->record, sizeof(head->record), offset) ||
        v3_index_pread(index, &head->aligned, body, at) ||
        v3_index_pread(index, head->pfns, array, at + body))
        return -1;
    index->stored = entry->pages * V2_PAGE_SIZE;
    pages = at + body + array;
    if (v3) {
        if (head->record.type != V3_RECORD_PAGE_DATA ||
            head->aligned.count != entry->count ||
            head->aligned.pages != entry->pages ||
            !v3_batch_fits(&index->savefile.header, &head->record,
                           &head->aligned, &index->stored))
            goto bad;
        pages += head->aligned.pad_length;
    } else if (head->record.type != V2_RECORD_PAGE_DATA ||
               head->page_data.count != entry->count ||
               head->page_data.reserved ||
               head->record.length != body + array + index->stored) {
        goto bad;
    }
    if ((entry->pages && entry->page_offset != pages) ||
        !v3_index_take_pfns(head->pfns, entry->count, v3, &found) ||
        found.pages != entry->pages || found.first_pfn != entry->first_pfn ||
        found.last_pfn != entry->last_pfn)
        goto bad;
    return 0;

bad:
    return damaged(index, offset, "a batch that is not as the index says");
}

/* ---- public ------------------------------------------------------------- */

PUBLIC struct v3_index *v3_index_open(int fd,
                                      const struct v3_savefile *savefile,
                                      struct v3_error *error)
{
    struct v3_index *index = calloc(1, sizeof(*index));
    int r;

    memset(error, 0, sizeof(*error));
    if (!index) {
        v3_fail(error, ENOMEM, "out of memory");
        return NULL;
    }
    index->fd = fd;
    index->savefile = *savefile;
    index->error = error;
    for (size_t i = 0; i < V3_INDEX_CACHED; i++)
        index->cached[i].batch = UINT64_MAX;
    index->direct = v3_direct_alignment(fd) == V2_PAGE_SIZE ?
                    v3_reopen(fd, O_RDONLY | O_DIRECT) : -1;
    if (savefile->format == V3_FORMAT_V3 && savefile->header.index_offset)
        r = load_record(index);
    else
        r = v3_index_walk(index);
    if (r) {
        v3_index_free(index);
        return NULL;
    }
    return index;
}

PUBLIC void v3_index_free(struct v3_index *index)
{
    if (!index)
        return;
    if (index->direct >= 0)
        close(index->direct);
    for (size_t i = 0; i < V3_INDEX_CACHED; i++)
        free(index->cached[i].pages);
    v3_unpacker_free(&index->unpacker);
    free(index->entries);
    free(index->checksums);
    free(index);
}

PUBLIC uint64_t v3_index_end(const struct v3_index *index)
{
    return index->end;
}

PUBLIC uint64_t v3_index_batches(const struct v3_index *index)
{
    return index->count;
}

