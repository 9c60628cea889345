/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spec 3.5 from the reader's side: which records there are, and where. */
#include <inttypes.h>
#include <unistd.h>

#include "stream-v3/codec/checksum.h"
#include "index.h"
#include "walk.h"

#define PART (1U << 20)

static int damaged(struct xensave_index *index, uint64_t offset,
                   const char *what)
{
    return xensave_fail(index->error, EBADMSG,
                        "%s at offset %" PRIu64 "; the file is damaged", what,
                        offset);
}

static int no_memory(struct xensave_index *index)
{
    return xensave_fail(index->error, ENOMEM,
                        "cannot allocate memory for the index");
}

const uint8_t *xensave_index_look(struct xensave_index *index, uint64_t offset,
                                  size_t length)
{
    const uint8_t *bytes = xensave_reader_look(&index->reader, offset, length);

    if (bytes)
        return bytes;
    if (errno == ENODATA)
        xensave_fail(index->error, ENODATA,
                     "the file ends before offset %" PRIu64
                     ", within a record; it is not whole",
                     offset + length);
    else
        xensave_fail(index->error, errno,
                     "reading %zu bytes at offset %" PRIu64 ": %s", length,
                     offset, strerror(errno));
    return NULL;
}

static int read_into(struct xensave_index *index, void *to, size_t length,
                     uint64_t offset)
{
    const uint8_t *bytes;
    size_t part;

    for (size_t done = 0; done < length; done += part) {
        part = min_u64(length - done, PART);
        bytes = xensave_index_look(index, offset + done, part);
        if (!bytes)
            return -1;
        memcpy((uint8_t *)to + done, bytes, part);
    }
    return 0;
}

/* One more than the greatest pfn. */
static void extend(struct xensave_index *index,
                   const struct xensave_index_batch *entry)
{
    if (entry->first_pfn <= entry->last_pfn && entry->last_pfn >= index->end)
        index->end = entry->last_pfn + 1;
}

/* ---- the index record --------------------------------------------------- */

/* The length of the record of a batch; 0 if its entry does not fit. */
static uint32_t batch_length(const struct xensave_index *index,
                             const struct xensave_index_batch *entry)
{
    struct xensave_v2_record_header record = { XENSAVE_RECORD_PAGE_DATA, 0 };
    const uint64_t body = entry->offset + sizeof(record);
    struct xensave_aligned_page_data aligned = {
        .count = entry->count,
        .pages = entry->pages,
        .flags = entry->flags,
    };
    struct xensave_batch_shape shape;
    uint64_t before = sizeof(aligned);

    if (entry->count > XENSAVE_BATCH_MAX || entry->pages > entry->count ||
        (entry->flags & ~XENSAVE_BATCH_FLAGS) || entry->page_offset < body ||
        entry->page_offset - body > XENSAVE_V2_RECORD_MAX / 2 ||
        entry->stored > XENSAVE_V2_RECORD_MAX / 2)
        return 0;
    record.length = entry->page_offset - body + entry->stored;
    xensave_batch_shape(&aligned, &shape);
    before += shape.arrays;
    if (entry->page_offset - body < before)
        return 0;
    aligned.pad_length = entry->page_offset - body - before;
    if (!xensave_batch_fits(&index->savefile.header, &record, &aligned,
                            &shape) ||
        shape.stored != entry->stored ||
        entry->last_pfn > XENSAVE_V2_PFN_MASK ||
        (entry->first_pfn > entry->last_pfn &&
         (entry->first_pfn != UINT64_MAX || entry->last_pfn)))
        return 0;
    return record.length;
}

/* The record that comes next by the two lists. */
static bool next_is_batch(const struct xensave_index *index, size_t batch,
                          size_t record)
{
    return record == index->record_count ||
           (batch < index->count &&
            index->entries[batch].offset < index->records[record].offset);
}

/*
 * The lists describe records that follow each other from ALIGNED_HEADER to the
 * index and may stand there.
 */
static int tile(struct xensave_index *index, struct xensave_checksum *context,
                uint64_t *pages)
{
    const uint64_t start = index->savefile.stream_start;
    struct xensave_order order = { .place = XENSAVE_PLACE_FIRST };
    uint64_t at = XENSAVE_STREAM_HEADERS + index->savefile.header_length;
    size_t b = 0, r = 0;

    while (b < index->count || r < index->record_count) {
        struct xensave_v2_record_header record = { XENSAVE_RECORD_PAGE_DATA,
                                                   0 };
        const struct xensave_index_record *other = &index->records[r];
        struct xensave_index_batch *batch = &index->entries[b];
        const uint64_t number = 1 + b + r;
        bool fits;

        if (next_is_batch(index, b, r)) {
            record.length = batch_length(index, batch);
            fits = batch->offset == at && record.length;
            xensave_checksum_add(context, &batch->checksum, 8);
            *pages += batch->pages;
            batch->offset += start;
            batch->page_offset += start;
            extend(index, batch);
            b++;
        } else {
            record.type = other->type;
            record.length = other->length;
            fits = other->offset == at &&
                   record.type != XENSAVE_RECORD_PAGE_DATA;
            xensave_checksum_add(context, &other->checksum, 8);
            r++;
        }
        if (!fits)
            return damaged(index, start + at,
                           "an ALIGNED_INDEX that does not fit the records");
        if (xensave_record_check(&order, XENSAVE_FORMAT_V3, &record,
                                 start + at, number, index->error))
            return -1;
        at += sizeof(record) + (uint64_t)record.length +
              record_padding(record.length);
    }
    if (at != index->savefile.header.index_offset ||
        order.place > XENSAVE_PLACE_BODY)
        return damaged(index, start + at,
                       "an ALIGNED_INDEX that does not reach to itself");
    return 0;
}

struct index_start {
    struct xensave_v2_record_header record;
    struct xensave_aligned_index body;
};

struct index_tail {
    struct xensave_v2_record_header record;
    struct xensave_aligned_check check;
    struct xensave_v2_record_header end;
};

static int verify_check(struct xensave_index *index,
                        struct xensave_checksum *context,
                        const struct index_tail *tail, uint64_t pages)
{
    const struct xensave_aligned_header *header = &index->savefile.header;
    const struct xensave_aligned_check *check = &tail->check;

    xensave_checksum_add(context, tail,
                         offsetof(struct index_tail, check.checksum));
    if (tail->record.type != XENSAVE_RECORD_CHECK ||
        tail->record.length != sizeof(*check) ||
        tail->end.type != XENSAVE_V2_RECORD_END || tail->end.length ||
        check->batches != index->count || check->pages_stored != pages ||
        check->records != 2 + index->count + index->record_count ||
        header->pages_stored != pages ||
        header->pages_zero != check->pages_zero ||
        check->checksum != xensave_checksum_get(context))
        return xensave_fail(index->error, EBADMSG,
                            "what is not page data does not match "
                            "ALIGNED_CHECK; the file is damaged");
    return 0;
}

static int read_lists(struct xensave_index *index, struct index_start *start,
                      uint64_t offset, struct index_tail *tail)
{
    const struct xensave_aligned_header *header = &index->savefile.header;
    size_t length;

    if (read_into(index, start, sizeof(*start), offset))
        return -1;
    if (start->record.type != XENSAVE_RECORD_INDEX ||
        start->record.length > XENSAVE_V2_RECORD_MAX ||
        start->record.length != xensave_index_length(&start->body) ||
        start->body.batches != header->batches ||
        header->stream_length != header->index_offset + sizeof(start->record) +
                                     start->record.length + sizeof(*tail))
        return damaged(index, offset,
                       "no ALIGNED_INDEX whose lengths and counts agree");
    length = start->record.length - sizeof(start->body);
    index->entries = malloc(length + 1);
    if (!index->entries)
        return no_memory(index);
    index->count = index->capacity = start->body.batches;
    index->records = (const struct xensave_index_record *)(index->entries +
                                                           index->count);
    index->record_count = start->body.records;
    offset += sizeof(*start);
    return read_into(index, index->entries, length, offset) ||
                   read_into(index, tail, sizeof(*tail), offset + length)
               ? -1
               : 0;
}

static int verify_lists(struct xensave_index *index,
                        struct xensave_checksum *checksum,
                        struct index_start *start, uint64_t offset)
{
    const uint64_t expected = start->body.checksum;
    int r = 0;

    start->body.checksum = 0;
    xensave_checksum_reset(checksum);
    xensave_checksum_add(checksum, index->savefile.header.file_id,
                         XENSAVE_FILE_ID);
    xensave_checksum_add(checksum, start, sizeof(*start));
    xensave_checksum_add(checksum, index->entries,
                         start->record.length - sizeof(start->body));
    if (xensave_checksum_get(checksum) != expected)
        r = damaged(index, offset, "an ALIGNED_INDEX with a wrong checksum");
    start->body.checksum = expected;
    return r;
}

static int load_record(struct xensave_index *index)
{
    const struct xensave_file *savefile = &index->savefile;
    uint64_t offset = savefile->stream_start + savefile->header.index_offset;
    uint8_t heads[XENSAVE_STREAM_HEADERS];
    struct xensave_checksum checksum;
    struct index_start start;
    struct index_tail tail;
    uint64_t pages = 0;
    int rc = -1;

    if (xensave_checksum_init(&checksum))
        return no_memory(index);
    if (read_lists(index, &start, offset, &tail) ||
        verify_lists(index, &checksum, &start, offset) ||
        read_into(index, heads, sizeof(heads), savefile->stream_start))
        goto out;
    xensave_checksum_reset(&checksum);
    xensave_checksum_add(&checksum, savefile->header.file_id, XENSAVE_FILE_ID);
    xensave_checksum_add(&checksum, heads, sizeof(heads));
    if (tile(index, &checksum, &pages))
        goto out;
    xensave_checksum_add(&checksum, &start.body.checksum, 8);
    rc = verify_check(index, &checksum, &tail, pages);

out:
    xensave_checksum_free(&checksum);
    return rc;
}

/* ---- without one: v2, compat, a stream that was v3 ---------------------- */

static int add(struct xensave_index *index,
               const struct xensave_index_batch *entry)
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
            return no_memory(index);
        index->entries = grown;
        index->capacity = capacity;
    }
    index->entries[index->count++] = *entry;
    extend(index, entry);
    return 0;
}

static int left_alone(struct xensave_index *index, uint64_t offset,
                      uint64_t number)
{
    return xensave_fail_at(
        index->error, ENOTSUP, offset, number,
        "a PAGE_DATA of a form that Xen does not write: single pages of this "
        "file cannot be found; it restores, and converts, all the same");
}

static int add_record(struct xensave_index *index,
                      const struct xensave_record *record, uint64_t number)
{
    const struct xensave_index_batch *batch = &record->batch;

    if (record->type == XENSAVE_V2_RECORD_PAGE_DATA &&
        (record->irregular || index->savefile.format == XENSAVE_FORMAT_V3))
        return left_alone(index, record->offset, number);
    /* Of v3 all: their numbers are those of the entries. */
    return record->type == XENSAVE_RECORD_PAGE_DATA ||
                   (batch->count && batch->first_pfn <= batch->last_pfn)
               ? add(index, batch)
               : 0;
}

static int load_records(struct xensave_index *index)
{
    struct xensave_walk *walk = xensave_walk_new(index->reader.fd,
                                                 &index->savefile,
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

/* ---- public ------------------------------------------------------------- */

struct xensave_index *xensave_index_load(int fd,
                                         const struct xensave_file *savefile,
                                         struct xensave_error *error)
{
    struct xensave_index *index = calloc(1, sizeof(*index));
    int r;

    if (!index) {
        xensave_fail(error, ENOMEM, "out of memory");
        return NULL;
    }
    xensave_reader_init(&index->reader, fd, false);
    index->savefile = *savefile;
    index->error = error;
    for (size_t i = 0; i < XENSAVE_INDEX_CACHED; i++)
        index->heads[i].batch = index->runs[i].batch = UINT64_MAX;
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

PUBLIC struct xensave_index *xensave_index_open(
    int fd, const struct xensave_file *savefile, struct xensave_error *error)
{
    struct xensave_index *index;

    memset(error, 0, sizeof(*error));
    index = xensave_index_load(fd, savefile, error);
    for (size_t i = 0; index && i < index->record_count; i++)
        if (index->records[i].type == XENSAVE_V2_RECORD_PAGE_DATA) {
            left_alone(index,
                       savefile->stream_start + index->records[i].offset, 0);
            xensave_index_free(index);
            return NULL;
        }
    return index;
}

PUBLIC void xensave_index_free(struct xensave_index *index)
{
    if (!index)
        return;
    for (size_t i = 0; i < XENSAVE_INDEX_CACHED; i++)
        free(index->runs[i].pages);
    xensave_unpacker_free(&index->unpacker);
    xensave_reader_close(&index->reader);
    free(index->entries);
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
