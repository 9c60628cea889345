/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Single pages of a save file: where they lie, and what is in them. */
#include <fcntl.h>
#include <inttypes.h>

#include "stream-v3/codec/checksum.h"
#include "index.h"

/* ---- where -------------------------------------------------------------- */

/* Those that no later batch has; returns how many. */
static uint32_t fill(const struct xensave_index *index, uint64_t batch,
                     uint64_t first, uint32_t count,
                     struct xensave_index_page *pages)
{
    const struct xensave_index_batch *entry = &index->entries[batch];
    const bool v3 = index->savefile.format == XENSAVE_FORMAT_V3;
    const bool packed = v3 && index->shape.codec;
    uint32_t slot = entry->pages, filled = 0;

    /* Backwards: of a pfn that is there twice, the last one wins. */
    for (uint32_t i = entry->count; i-- > 0;) {
        uint64_t stored = index->head.arrays[i],
                 pfn = stored & XENSAVE_V2_PFN_MASK;
        bool zero = v3 && (stored & XENSAVE_PFN_ZERO);
        struct xensave_index_page *page;

        if (!xensave_pfn_has_contents(stored))
            continue;
        slot -= !zero;
        if (pfn < first || pfn - first >= count)
            continue;
        page = &pages[pfn - first];
        if (page->kind != XENSAVE_PAGE_ABSENT)
            continue;
        page->kind = zero ? XENSAVE_PAGE_ZERO : XENSAVE_PAGE_STORED;
        page->type = stored >> XENSAVE_V2_PFN_TYPE_SHIFT;
        page->batch = batch;
        page->place = slot;
        page->offset = zero     ? 0
                       : packed ? UINT64_MAX
                                : entry->page_offset +
                                      (uint64_t)slot * XENSAVE_V2_PAGE_SIZE;
        filled++;
    }
    return filled;
}

/* A range that begins before `from` may go on far beyond it. */
static uint64_t least_from(const struct xensave_index *index, uint64_t batch,
                           uint64_t from)
{
    uint64_t least = UINT64_MAX;

    for (uint32_t i = 0; i < index->entries[batch].count; i++) {
        uint64_t pfn = index->head.arrays[i] & XENSAVE_V2_PFN_MASK;

        if (xensave_pfn_has_contents(index->head.arrays[i]) && pfn >= from &&
            pfn < least)
            least = pfn;
    }
    return least;
}

PUBLIC int xensave_index_next(struct xensave_index *index, uint64_t from,
                              uint64_t *pfn)
{
    const struct xensave_index_batch *entry = index->entries;

    *pfn = UINT64_MAX;
    if (index->error->text[0])
        return -1;
    for (size_t i = 0; i < index->count && *pfn != from; i++, entry++) {
        uint64_t least = entry->first_pfn;

        if (entry->last_pfn < from || entry->first_pfn > entry->last_pfn)
            continue;
        if (least < from) {
            if (xensave_index_load_head(index, i))
                return -1;
            least = least_from(index, i, from);
        }
        if (least < *pfn)
            *pfn = least;
    }
    return 0;
}

PUBLIC int xensave_index_map(struct xensave_index *index, uint64_t first,
                             uint32_t count, struct xensave_index_page *pages)
{
    uint32_t left = count;

    if (index->error->text[0])
        return -1;
    memset(pages, 0, count * sizeof(*pages));
    for (size_t i = index->count; i-- > 0 && left;) {
        const struct xensave_index_batch *entry = &index->entries[i];

        if (entry->first_pfn > entry->last_pfn || entry->last_pfn < first ||
            (entry->first_pfn >= first && entry->first_pfn - first >= count))
            continue;
        if (xensave_index_load_head(index, i))
            return -1;
        left -= fill(index, i, first, count, pages);
    }
    return 0;
}

/* ---- contents ----------------------------------------------------------- */

/*
 * Direct I/O reads whole blocks, and contents begin (v2) and end (if they are
 * compressed) in the midst of one: `to` has room for a page more.  The file's
 * last block is no whole one.
 */
static bool read_direct(struct xensave_index *index, uint8_t *to,
                        size_t length, uint64_t offset)
{
    size_t before = offset % XENSAVE_V2_PAGE_SIZE, whole, rest = 0;
    uint64_t end = offset + length;

    if (index->direct < 0)
        return false;
    if (round_up(end, XENSAVE_V2_PAGE_SIZE) > index->savefile.file_size)
        rest = end % XENSAVE_V2_PAGE_SIZE;
    if (rest > length)
        return false;
    whole = round_up(before + length - rest, XENSAVE_V2_PAGE_SIZE);
    if (pread_exact(index->direct, to, whole, offset - before))
        return false;
    if (before)
        memmove(to, to + before, length - rest);
    return !pread_exact(index->fd, to + length - rest, rest, end - rest);
}

/* Of the batch whose head has been loaded. */
static int read_stored(struct xensave_index *index, uint8_t *to,
                       size_t length, uint64_t offset)
{
    if (read_direct(index, to, length, offset))
        return 0;
    if (xensave_index_pread(index, to, length, offset))
        return -1;
    /* They are seldom read twice, and a guest may be larger than dom0. */
    posix_fadvise(index->fd, offset, length, POSIX_FADV_DONTNEED);
    return 0;
}

static int check_padding(struct xensave_index *index,
                         const struct xensave_index_batch *entry)
{
    uint32_t left = index->head.aligned.pad_length, part;
    uint64_t offset = entry->page_offset - left;
    uint8_t some[XENSAVE_ALIGNMENT_MIN];

    for (; left; left -= part, offset += part) {
        part = min_u64(left, sizeof(some));
        if (xensave_index_pread(index, some, part, offset))
            return -1;
        for (uint32_t i = 0; i < part; i++)
            if (some[i])
                return xensave_fail(index->error, EBADMSG,
                                    "padding at offset %" PRIu64
                                    " is not zero; the file is damaged",
                                    offset + i);
    }
    return 0;
}

/* compat: spec 3.4. */
static int verify_page_data(struct xensave_index *index, uint64_t batch,
                            const uint8_t *pages)
{
    const struct xensave_index_batch *entry = &index->entries[batch];
    struct xensave_checksum checksum;
    uint64_t found;

    if (index->savefile.format == XENSAVE_FORMAT_V2)
        return 0;
    if (xensave_checksum_init(&checksum))
        return xensave_fail(index->error, ENOMEM, "out of memory");
    xensave_checksum_reset(&checksum);
    xensave_checksum_add(&checksum, pages, entry->stored);
    xensave_checksum_add(&checksum, &index->v2, sizeof(index->v2));
    xensave_checksum_add(&checksum, index->head.arrays,
                         8 * (size_t)entry->count);
    found = xensave_checksum_get(&checksum);
    xensave_checksum_free(&checksum);
    if (found == index->checksums[batch])
        return 0;
    return xensave_fail(index->error, EBADMSG,
                        "the batch at offset %" PRIu64
                        " has the checksum %016" PRIx64 ", not %016" PRIx64
                        "; the file is damaged",
                        entry->offset, found, index->checksums[batch]);
}

/* Verifies and, if need be, decompresses. */
static int open_aligned(struct xensave_index *index, uint64_t batch,
                        const uint8_t *stored, uint8_t *pages)
{
    const struct xensave_index_batch *entry = &index->entries[batch];
    uint32_t frame;
    int r;

    if (check_padding(index, entry))
        return -1;
    r = xensave_batch_open(&index->unpacker, &index->head, &index->shape,
                           stored, pages, &frame);
    if (!r)
        return 0;
    return xensave_fail(index->error, r == ENOMEM ? r : EBADMSG,
                        "frame %" PRIu32 " of the batch at offset %" PRIu64
                        " %s",
                        frame, entry->offset, xensave_frame_error(r));
}

/* Direct I/O of what begins or ends in a block needs one more. */
#define ROOM ((size_t)(XENSAVE_BATCH_MAX + 1) * XENSAVE_V2_PAGE_SIZE)

/* Reads, verifies and, if need be, decompresses all pages of a batch. */
static int read_batch(struct xensave_index *index, uint64_t batch,
                      uint8_t *pages)
{
    const struct xensave_index_batch *entry = &index->entries[batch];
    const bool v3 = index->savefile.format == XENSAVE_FORMAT_V3;
    uint8_t *stored = pages;

    if (xensave_index_load_head(index, batch))
        return -1;
    if (v3 && index->shape.codec) {
        if (!index->stored &&
            posix_memalign((void **)&index->stored, XENSAVE_V2_PAGE_SIZE,
                           ROOM)) {
            index->stored = NULL;
            return xensave_fail(index->error, ENOMEM, "out of memory");
        }
        stored = index->stored;
    }
    if (read_stored(index, stored, entry->stored, entry->page_offset))
        return -1;
    return v3 ? open_aligned(index, batch, stored, pages)
              : verify_page_data(index, batch, stored);
}

static struct xensave_index_cached *choose(struct xensave_index *index,
                                           uint64_t batch)
{
    struct xensave_index_cached *oldest = index->cached, *cached;

    for (cached = index->cached; cached < index->cached + XENSAVE_INDEX_CACHED;
         cached++) {
        if (cached->batch == batch)
            return cached;
        if (cached->used < oldest->used)
            oldest = cached;
    }
    return oldest;
}

static struct xensave_index_cached *load(struct xensave_index *index,
                                         uint64_t batch)
{
    struct xensave_index_cached *cached = choose(index, batch);

    cached->used = ++index->uses;
    if (cached->batch == batch)
        return cached;
    cached->batch = UINT64_MAX;
    if (!cached->pages &&
        posix_memalign((void **)&cached->pages, XENSAVE_V2_PAGE_SIZE, ROOM)) {
        cached->pages = NULL;
        xensave_fail(index->error, ENOMEM, "out of memory");
        return NULL;
    }
    if (read_batch(index, batch, cached->pages))
        return NULL;
    cached->batch = batch;
    return cached;
}

PUBLIC int xensave_index_read(struct xensave_index *index,
                              const struct xensave_index_page *page,
                              void *contents)
{
    const struct xensave_index_cached *cached;

    if (index->error->text[0])
        return -1;
    if (page->kind != XENSAVE_PAGE_STORED) {
        memset(contents, 0, XENSAVE_V2_PAGE_SIZE);
        return 0;
    }
    cached = load(index, page->batch);
    if (!cached)
        return -1;
    memcpy(contents,
           cached->pages + (size_t)page->place * XENSAVE_V2_PAGE_SIZE,
           XENSAVE_V2_PAGE_SIZE);
    return 0;
}
