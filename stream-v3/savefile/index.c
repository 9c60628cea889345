/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spec 3.5 from the reader's side: which batch holds a page. */
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "stream-v3/codec/checksum.h"
#include "index.h"

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

int xensave_index_add(struct xensave_index *index,
                      const struct xensave_index_batch *entry,
                      uint64_t checksum)
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
    if (entry->first_pfn <= entry->last_pfn && entry->last_pfn >= index->end)
        index->end = entry->last_pfn + 1;
    return 0;

no_memory:
    return xensave_fail(index->error, ENOMEM,
                        "cannot allocate %zu index entries", capacity);
}

bool xensave_index_take_pfns(const uint64_t *pfns, uint32_t count,
                             bool zero_bit, struct xensave_index_batch *entry)
{
    struct xensave_pfns seen;

    if (!xensave_pfns_check(pfns, count, zero_bit, &seen))
        return false;
    *entry = (struct xensave_index_batch){
        .count = count,
        .pages = seen.stored,
        .stored = seen.stored * XENSAVE_V2_PAGE_SIZE,
        .first_pfn = seen.first,
        .last_pfn = seen.last,
    };
    return true;
}

int xensave_index_left_alone(struct xensave_index *index, uint64_t offset)
{
    return xensave_fail(index->error, ENOTSUP,
                        "a PAGE_DATA of a form that Xen does not write, at "
                        "stream offset %" PRIu64 ": single pages of this "
                        "file cannot be found; it restores, and converts, "
                        "all the same",
                        offset);
}

/* ---- the index record --------------------------------------------------- */

static bool entry_fits(const struct xensave_index *index,
                       const struct xensave_index_batch *entry, uint64_t after)
{
    const struct xensave_aligned_header *header = &index->savefile.header;

    return entry->offset >= after && entry->offset < header->index_offset &&
           (entry->first_pfn <= entry->last_pfn ||
            (entry->first_pfn == UINT64_MAX && !entry->last_pfn)) &&
           entry->last_pfn <= XENSAVE_V2_PFN_MASK && entry->count &&
           entry->count <= XENSAVE_BATCH_MAX && entry->pages <= entry->count &&
           entry->page_offset > entry->offset &&
           entry->page_offset <= header->index_offset;
}

static int load_batches(struct xensave_index *index,
                        struct xensave_checksum *checksum, uint64_t offset,
                        uint64_t entries)
{
    const uint64_t start = index->savefile.stream_start;
    struct xensave_index_batch some[256];
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
            some[i].page_offset += start;
            if (xensave_index_add(index, &some[i], 0))
                return -1;
        }
    }
    return 0;
}

static int load_records(struct xensave_index *index,
                        struct xensave_checksum *checksum, uint64_t offset,
                        uint64_t entries)
{
    struct xensave_index_record entry;

    for (; entries; entries--, offset += sizeof(entry)) {
        if (xensave_index_pread(index, &entry, sizeof(entry), offset))
            return -1;
        xensave_checksum_add(checksum, &entry, sizeof(entry));
        if (entry.type == XENSAVE_V2_RECORD_PAGE_DATA)
            return xensave_index_left_alone(index, entry.offset);
    }
    return 0;
}

static int load_record(struct xensave_index *index)
{
    const struct xensave_aligned_header *header = &index->savefile.header;
    uint64_t offset = index->savefile.stream_start + header->index_offset,
             entries, expected;
    struct {
        struct xensave_v2_record_header record;
        struct xensave_aligned_index body;
    } head;
    struct xensave_checksum checksum;
    int rc = -1;

    if (xensave_index_pread(index, &head, sizeof(head), offset))
        return -1;
    if (head.record.type != XENSAVE_RECORD_INDEX ||
        head.record.length > XENSAVE_V2_RECORD_MAX ||
        head.record.length != xensave_index_length(&head.body) ||
        head.body.batches != header->batches)
        return damaged(index, offset, "no ALIGNED_INDEX that fits together");
    if (xensave_checksum_init(&checksum))
        return xensave_fail(index->error, ENOMEM, "out of memory");
    expected = head.body.checksum;
    head.body.checksum = 0;
    xensave_checksum_reset(&checksum);
    xensave_checksum_add(&checksum, header->file_id, XENSAVE_FILE_ID);
    xensave_checksum_add(&checksum, &head, sizeof(head));
    entries = offset + sizeof(head);
    if (load_batches(index, &checksum, entries, head.body.batches) ||
        load_records(index, &checksum,
                     entries + head.body.batches *
                                   sizeof(struct xensave_index_batch),
                     head.body.records))
        goto out;
    if (xensave_checksum_get(&checksum) != expected)
        damaged(index, offset, "an ALIGNED_INDEX with a wrong checksum");
    else
        rc = 0;

out:
    xensave_checksum_free(&checksum);
    return rc;
}

/* ---- batches ------------------------------------------------------------ */

/* Reads the arrays and holds all of it against the entry. */
static const char *load_aligned(struct xensave_index *index, uint64_t batch)
{
    const struct xensave_index_batch *entry = &index->entries[batch];
    const struct xensave_file *savefile = &index->savefile;
    struct xensave_batch_head *head = &index->head;
    struct xensave_index_batch found;
    struct xensave_pfns pfns;
    const char *wrong;

    if (xensave_index_pread(index, head,
                            offsetof(struct xensave_batch_head, arrays),
                            entry->offset))
        return "";
    if (head->record.type != XENSAVE_RECORD_PAGE_DATA ||
        !xensave_batch_fits(&savefile->header, &head->record, &head->aligned,
                            &index->shape))
        return "a batch that does not fit together";
    if (xensave_index_pread(index, head->arrays, index->shape.arrays,
                            entry->offset +
                                offsetof(struct xensave_batch_head, arrays)))
        return "";
    wrong = xensave_batch_verify(head, &index->shape,
                                 savefile->header.file_id, batch, &pfns);
    if (wrong)
        return wrong;
    xensave_batch_entry(head, &index->shape, &pfns, entry->offset, &found);
    return memcmp(&found, entry, sizeof(found))
               ? "a batch that is not as the index says"
               : NULL;
}

static const char *load_page_data(struct xensave_index *index, uint64_t batch)
{
    const struct xensave_index_batch *entry = &index->entries[batch];
    size_t array = 8 * entry->count;
    struct xensave_index_batch found;

    if (xensave_index_pread(index, &index->v2, sizeof(index->v2),
                            entry->offset) ||
        xensave_index_pread(index, index->head.arrays, array,
                            entry->offset + sizeof(index->v2)))
        return "";
    if (index->v2.record.type != XENSAVE_V2_RECORD_PAGE_DATA ||
        index->v2.page_data.count != entry->count ||
        !xensave_page_data_regular(&index->v2.record, &index->v2.page_data,
                                   index->head.arrays) ||
        !xensave_index_take_pfns(index->head.arrays, entry->count, false,
                                 &found) ||
        found.pages != entry->pages || found.first_pfn != entry->first_pfn ||
        found.last_pfn != entry->last_pfn)
        return "a batch that has changed";
    return NULL;
}

int xensave_index_load_head(struct xensave_index *index, uint64_t batch)
{
    const char *wrong = index->savefile.format == XENSAVE_FORMAT_V3
                            ? load_aligned(index, batch)
                            : load_page_data(index, batch);

    if (wrong)
        return damaged(index, index->entries[batch].offset, wrong);
    return 0;
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
        r = xensave_index_walk(index);
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
    free(index->stored);
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
