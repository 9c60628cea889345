/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Single pages of a save file: where they lie, and what is in them. */
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
    const bool packed = v3 && index->head->shape.codec;
    uint32_t slot = entry->pages, filled = 0;

    /* Backwards: of a pfn that is there twice, the last one wins. */
    for (uint32_t i = entry->count; i-- > 0;) {
        uint64_t stored = index->head->head.arrays[i],
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
        uint64_t pfn = index->head->head.arrays[i] & XENSAVE_V2_PFN_MASK;

        if (xensave_pfn_has_contents(index->head->head.arrays[i]) &&
            pfn >= from && pfn < least)
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

/* ---- comparing ---------------------------------------------------------- */

static size_t next_in(const struct xensave_index *index, size_t at,
                      uint64_t first, uint64_t count)
{
    const struct xensave_index_batch *entry;

    for (; at < index->count; at++) {
        entry = &index->entries[at];
        if (entry->first_pfn <= entry->last_pfn && entry->last_pfn >= first &&
            (entry->first_pfn <= first || entry->first_pfn - first < count))
            break;
    }
    return at;
}

PUBLIC bool xensave_index_same(const struct xensave_index *a,
                               const struct xensave_index *b, uint64_t first,
                               uint32_t count)
{
    const struct xensave_index_batch *in_a, *in_b;
    size_t i = 0, j = 0;

    if (a->savefile.format != XENSAVE_FORMAT_V3 ||
        b->savefile.format != XENSAVE_FORMAT_V3)
        return false;
    for (;; i++, j++) {
        i = next_in(a, i, first, count);
        j = next_in(b, j, first, count);
        if (i == a->count || j == b->count)
            return i == a->count && j == b->count;
        in_a = &a->entries[i];
        in_b = &b->entries[j];
        if (in_a->contents != in_b->contents || in_a->count != in_b->count ||
            in_a->pages != in_b->pages || in_a->flags != in_b->flags ||
            in_a->stored != in_b->stored)
            return false;
    }
}

PUBLIC int xensave_index_same_page(struct xensave_index *a,
                                   const struct xensave_index_page *page_a,
                                   struct xensave_index *b,
                                   const struct xensave_index_page *page_b)
{
    struct xensave_frame in_a, in_b;
    uint32_t pages;

    if (a->savefile.format != XENSAVE_FORMAT_V3 ||
        b->savefile.format != XENSAVE_FORMAT_V3 ||
        page_a->kind != XENSAVE_PAGE_STORED ||
        page_b->kind != XENSAVE_PAGE_STORED)
        return 0;
    if (xensave_index_load_head(a, page_a->batch) ||
        xensave_index_load_head(b, page_b->batch))
        return -1;
    pages = a->head->shape.frame_pages;
    if (pages != b->head->shape.frame_pages ||
        a->head->shape.codec != b->head->shape.codec ||
        page_a->place % pages != page_b->place % pages)
        return 0;
    in_a = xensave_batch_frame(&a->head->head, &a->head->shape,
                               page_a->place / pages);
    in_b = xensave_batch_frame(&b->head->head, &b->head->shape,
                               page_b->place / pages);
    return in_a.check == in_b.check && in_a.length == in_b.length &&
           in_a.pages == in_b.pages;
}

/* ---- contents ----------------------------------------------------------- */

/* compat: spec 3.4. */
static int verify_page_data(struct xensave_index *index, uint64_t batch,
                            const uint8_t *pages)
{
    const struct xensave_index_batch *entry = &index->entries[batch];
    const struct xensave_index_head *head = index->head;
    struct xensave_checksum checksum;
    uint64_t found;

    if (index->savefile.format == XENSAVE_FORMAT_V2)
        return 0;
    if (xensave_checksum_init(&checksum))
        return xensave_fail(index->error, ENOMEM, "out of memory");
    xensave_checksum_reset(&checksum);
    xensave_checksum_add(&checksum, pages, entry->stored);
    xensave_checksum_add(&checksum, &head->v2, sizeof(head->v2));
    xensave_checksum_add(&checksum, head->head.arrays,
                         8 * (size_t)entry->count);
    found = xensave_checksum_get(&checksum);
    xensave_checksum_free(&checksum);
    if (found == entry->checksum)
        return 0;
    return xensave_fail(index->error, EBADMSG,
                        "the batch at offset %" PRIu64
                        " has the checksum %016" PRIx64 ", not %016" PRIx64
                        "; the file is damaged",
                        entry->offset, found, entry->checksum);
}

/* Verifies and decompresses the frames of a run. */
static int open_frames(struct xensave_index *index,
                       const struct xensave_index_run *run,
                       const uint8_t *stored, uint32_t begin)
{
    const struct xensave_batch_shape *shape = &index->head->shape;
    struct xensave_batch_head *head = &index->head->head;
    uint32_t number = run->first / shape->frame_pages, page = 0;
    struct xensave_frame frame;
    int r;

    for (; page < run->count; page += frame.pages, number++) {
        frame = xensave_batch_frame(head, shape, number);
        r = xensave_frame_open(&index->unpacker, shape->codec, &frame,
                               stored + (frame.begin - begin),
                               run->pages +
                                   (size_t)page * XENSAVE_V2_PAGE_SIZE);
        if (r)
            return xensave_fail(index->error, r == ENOMEM ? r : EBADMSG,
                                "frame %" PRIu32
                                " of the batch at offset %" PRIu64 " %s",
                                number, index->entries[run->batch].offset,
                                xensave_frame_error(r));
    }
    return 0;
}

/* The frames of a run begin and end with it. */
static int read_run(struct xensave_index *index,
                    const struct xensave_index_run *run)
{
    const struct xensave_index_batch *entry = &index->entries[run->batch];
    const struct xensave_batch_shape *shape = &index->head->shape;
    const bool v3 = index->savefile.format == XENSAVE_FORMAT_V3;
    struct xensave_frame first = { .length = entry->stored }, last = first;
    const uint8_t *stored;
    size_t length;

    if (v3) {
        first = xensave_batch_frame(&index->head->head, shape,
                                    run->first / shape->frame_pages);
        last = xensave_batch_frame(&index->head->head, shape,
                                   (run->first + run->count - 1) /
                                       shape->frame_pages);
    }
    length = last.begin + last.length - first.begin;
    stored = xensave_index_look(index, entry->page_offset + first.begin,
                                length);
    if (!stored)
        return -1;
    if (v3)
        return open_frames(index, run, stored, first.begin);
    if (verify_page_data(index, run->batch, stored))
        return -1;
    memcpy(run->pages, stored, length);
    return 0;
}

/*
 * One frame; where the frames before it have just been read, twice as many as
 * then, so that reading all of a batch takes few reads.
 */
static void plan(const struct xensave_index *index,
                 struct xensave_index_run *run, uint64_t batch, uint32_t page)
{
    const uint32_t pages = index->entries[batch].pages,
                   frame = index->head->shape.frame_pages;
    const struct xensave_index_run *before = index->runs;
    uint32_t count = frame;

    run->first = 0;
    run->count = pages;
    if (index->savefile.format != XENSAVE_FORMAT_V3)
        return;
    run->first = round_down(page, frame);
    for (; before < index->runs + XENSAVE_INDEX_CACHED; before++)
        if (before->batch == batch &&
            before->first + before->count == run->first)
            count = round_up(2 * before->count, frame);
    run->count = min_u64(count, pages - run->first);
}

static bool holds(const struct xensave_index_run *run,
                  const struct xensave_index_page *page)
{
    return run->batch == page->batch && page->place >= run->first &&
           page->place - run->first < run->count;
}

static struct xensave_index_run *load(struct xensave_index *index,
                                      const struct xensave_index_page *page)
{
    struct xensave_index_run *run = index->runs, next;

    for (struct xensave_index_run *at = run;
         at < index->runs + XENSAVE_INDEX_CACHED; at++) {
        if (holds(at, page)) {
            at->used = ++index->uses;
            return at;
        }
        if (at->used < run->used)
            run = at;
    }
    if (xensave_index_load_head(index, page->batch))
        return NULL;
    next = *run;
    plan(index, &next, page->batch, page->place);
    next.batch = page->batch;
    next.used = ++index->uses;
    run->batch = UINT64_MAX;
    if (next.size < (size_t)next.count * XENSAVE_V2_PAGE_SIZE) {
        free(run->pages);
        next.size = (size_t)next.count * XENSAVE_V2_PAGE_SIZE;
        next.pages = run->pages = malloc(next.size);
        run->size = run->pages ? next.size : 0;
        if (!run->pages) {
            xensave_fail(index->error, ENOMEM, "out of memory");
            return NULL;
        }
    }
    if (read_run(index, &next))
        return NULL;
    *run = next;
    return run;
}

PUBLIC int xensave_index_read(struct xensave_index *index,
                              const struct xensave_index_page *page,
                              void *contents)
{
    const struct xensave_index_run *run;

    if (index->error->text[0])
        return -1;
    if (page->kind != XENSAVE_PAGE_STORED) {
        memset(contents, 0, XENSAVE_V2_PAGE_SIZE);
        return 0;
    }
    run = load(index, page);
    if (!run)
        return -1;
    memcpy(contents,
           run->pages +
               (size_t)(page->place - run->first) * XENSAVE_V2_PAGE_SIZE,
           XENSAVE_V2_PAGE_SIZE);
    return 0;
}
