/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as a save file whose pages are looked up: by its index or by a
 * walk over its records, in order and at random.  Where there is no index,
 * what is found is what a decoder hands out last.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define WINDOW  64U /* pfns mapped at once */
#define WINDOWS 24U
#define READS   48U /* each may decompress a batch */
#define LOOKUPS 16U

static struct xensave_index_page window[WINDOW];

struct lookup {
    struct xensave_index *index;
    struct xensave_error error;
    struct xensave_file savefile;
    struct fuzz_random random;
    uint32_t reads;
    const struct fuzz_bytes *v2; /* NULL: nothing to hold it against */
};

/* The contents that a restore would leave of a pfn; NULL: none. */
static const uint8_t *last_contents(const struct fuzz_bytes *v2, uint64_t pfn)
{
    static struct fuzz_record records[1024];
    size_t count = fuzz_records(v2->data, v2->length, 0, records, 1024);
    const uint8_t *found = NULL;

    for (size_t i = 0; i < count; i++) {
        const uint8_t *body = v2->data + records[i].offset +
                              sizeof(struct xensave_v2_record_header);
        struct xensave_v2_page_data_header header;
        const uint8_t *page;

        if (records[i].type != XENSAVE_V2_RECORD_PAGE_DATA ||
            records[i].length < sizeof(header))
            continue;
        memcpy(&header, body, sizeof(header));
        page = body + sizeof(header) + 8 * (size_t)header.count;
        for (size_t n = 0; n < header.count; n++) {
            uint64_t stored;

            memcpy(&stored, body + sizeof(header) + 8 * n, 8);
            if (stored >> XENSAVE_V2_PFN_TYPE_SHIFT >=
                XENSAVE_V2_PFN_TYPE_BROKEN)
                continue;
            if ((stored & XENSAVE_V2_PFN_MASK) == pfn)
                found = page;
            page += XENSAVE_V2_PAGE_SIZE;
        }
    }
    return found;
}

static bool read_page(struct lookup *lookup, uint64_t pfn,
                      const struct xensave_index_page *page)
{
    static uint8_t contents[XENSAVE_V2_PAGE_SIZE];
    const uint8_t *expected;

    if (!lookup->reads)
        return true;
    lookup->reads--;
    if (xensave_index_read(lookup->index, page, contents))
        return false;
    if (!lookup->v2)
        return true;
    expected = last_contents(lookup->v2, pfn);
    if (page->kind == XENSAVE_PAGE_ABSENT)
        FUZZ_ASSERT(!expected, NULL);
    else
        FUZZ_ASSERT(expected &&
                        !memcmp(expected, contents, XENSAVE_V2_PAGE_SIZE),
                    NULL);
    return true;
}

static void assert_page(const struct lookup *lookup,
                        const struct xensave_index_page *page)
{
    if (page->kind == XENSAVE_PAGE_ABSENT)
        return;
    FUZZ_ASSERT(page->batch < xensave_index_batches(lookup->index), NULL);
    FUZZ_ASSERT(page->kind == XENSAVE_PAGE_STORED || !page->offset, NULL);
    FUZZ_ASSERT(page->offset == UINT64_MAX ||
                    page->offset <=
                        lookup->savefile.file_size +
                            (uint64_t)XENSAVE_BATCH_MAX * XENSAVE_V2_PAGE_SIZE,
                NULL);
}

static bool map(struct lookup *lookup, uint64_t first, uint32_t count)
{
    if (xensave_index_map(lookup->index, first, count, window))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        assert_page(lookup, &window[i]);
        if (!read_page(lookup, first + i, &window[i]))
            return false;
    }
    return true;
}

/* As a dump does it: every pfn that has contents, in order. */
static bool in_order(struct lookup *lookup)
{
    uint64_t first, next = 0;

    for (uint32_t i = 0; i < WINDOWS; i++, next = first + WINDOW) {
        if (xensave_index_next(lookup->index, next, &first))
            return false;
        if (first == UINT64_MAX)
            return true;
        FUZZ_ASSERT(first >= next, NULL);
        FUZZ_ASSERT(first < xensave_index_end(lookup->index), NULL);
        if (!map(lookup, first, WINDOW))
            return false;
        FUZZ_ASSERT(window[0].kind != XENSAVE_PAGE_ABSENT, NULL);
    }
    return true;
}

static bool at_random(struct lookup *lookup)
{
    struct fuzz_random *random = &lookup->random;
    uint64_t bound = xensave_index_end(lookup->index) + 2, first, next;

    for (uint32_t i = 0; i < LOOKUPS; i++) {
        first = ((uint64_t)fuzz_below(random, UINT32_MAX) << 21 |
                 fuzz_below(random, UINT32_MAX)) %
                bound;
        if (!map(lookup, first, 1 + fuzz_below(random, WINDOW)))
            return false;
        if (xensave_index_next(lookup->index, first, &next))
            return false;
        FUZZ_ASSERT(next >= first, NULL);
        FUZZ_ASSERT((window[0].kind != XENSAVE_PAGE_ABSENT) == (next == first),
                    NULL);
    }
    return true;
}

static bool (*const ways[])(struct lookup *lookup) = {
    in_order,
    at_random,
};

/* The index is the writer's word; a walk sees what the decoder sees. */
static const struct fuzz_bytes *decode(const uint8_t *data, size_t size,
                                       const struct xensave_file *savefile)
{
    static struct fuzz_decoded decoded;

    if (savefile->format == XENSAVE_FORMAT_V3 && savefile->header.index_offset)
        return NULL;
    return fuzz_decode(data + savefile->stream_start,
                       size - savefile->stream_start, savefile->stream_start,
                       0, 1 << 16, &decoded) == FUZZ_ENDED
               ? &decoded.v2
               : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct lookup lookup;
    struct fuzz_control control;
    int fd;

    if (!fuzz_control(&control, &data, &size))
        return 0;
    fd = fuzz_memory(data, size);
    if (xensave_file_probe(fd, UINT64_MAX, &lookup.savefile, &lookup.error))
        return 0;
    lookup.index = xensave_index_open(fd, &lookup.savefile, &lookup.error);
    if (!lookup.index) {
        fuzz_assert_error(&lookup.error);
        return 0;
    }
    lookup.random = fuzz_random(control.chunks);
    lookup.reads = READS;
    lookup.v2 = control.flags & 1 ? decode(data, size, &lookup.savefile)
                                  : NULL;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        if (!ways[i](&lookup)) {
            fuzz_assert_error(&lookup.error);
            break;
        }
    xensave_index_free(lookup.index);
    return 0;
}
