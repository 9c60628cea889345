/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the pages of a save file are.  The stream has been verified when this
 * walks over it, without reading its pages.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "core_saved.h"

#define PLACES_STEP 65536U

struct walk {
    struct v3_core_places *places;
    int fd;
    uint64_t file_size;
    uint64_t offset;            /* of the record */
    bool ascending;
    bool cached;                /* it was in the page cache before */
    uint64_t dropped;           /* octets before this are not in it */
    struct v3_error *error;
    uint64_t pfn[V3_BATCH_MAX];
};

#define DROP_STEP (512U << 10)

static int read_at(struct walk *walk, void *data, size_t length,
                   uint64_t offset)
{
    if (offset + length > walk->file_size) {
        errno = ENODATA;
        return v3_fail_at(walk->error, ENODATA, offset, 0,
                          "the save file ends within a record");
    }
    if (v3_pread_exact(walk->fd, data, length, offset))
        return v3_fail_at(walk->error, errno, offset, 0,
                          "cannot read the save file: %s", strerror(errno));
    return 0;
}

static int add(struct walk *walk, uint64_t pfn, uint64_t offset)
{
    struct v3_core_places *places = walk->places;
    struct v3_core_place *place;
    uint64_t allocated;

    if (places->count == places->allocated) {
        allocated = places->allocated + places->allocated / 2 + PLACES_STEP;
        place = realloc(places->place, allocated * sizeof(*place));
        if (!place)
            return v3_fail(walk->error, ENOMEM, "no memory for the places of "
                           "%llu pages", (unsigned long long)allocated);
        places->place = place;
        places->allocated = allocated;
    }
    place = &places->place[places->count];
    place->pfn = pfn & V2_PFN_MASK;
    place->type = pfn >> V2_PFN_TYPE_SHIFT;
    place->offset = offset;
    if (places->count && place[-1].pfn >= place->pfn)
        walk->ascending = false;
    places->count++;
    return 0;
}

static int add_batch(struct walk *walk, uint64_t pfns_offset, uint32_t count,
                     uint64_t pages_offset, uint64_t zero_bit)
{
    uint64_t pfn, offset = pages_offset, place;
    uint32_t i, n;

    for (; count; count -= n, pfns_offset += n * sizeof(pfn)) {
        n = min_u64(count, V3_BATCH_MAX);
        if (read_at(walk, walk->pfn, n * sizeof(pfn), pfns_offset))
            return -1;
        for (i = 0; i < n; i++) {
            pfn = walk->pfn[i];
            /* Without contents it does not undo those of an earlier one. */
            if (!v3_pfn_has_contents(pfn))
                continue;
            place = pfn & zero_bit ? V3_CORE_PLACE_ZERO : offset;
            offset += pfn & zero_bit ? 0 : V2_PAGE_SIZE;
            if (add(walk, pfn, place))
                return -1;
        }
    }
    return 0;
}

static int add_page_data(struct walk *walk, uint64_t body, uint32_t length)
{
    struct v2_page_data_header header;
    uint64_t pfns = body + sizeof(header);

    if (read_at(walk, &header, sizeof(header), body))
        return -1;
    if (header.count > (length - sizeof(header)) / 8)
        return v3_fail_at(walk->error, EBADMSG, walk->offset, 0,
                          "PAGE_DATA with more pfns than octets");
    return add_batch(walk, pfns, header.count, pfns + header.count * 8ULL, 0);
}

static int add_aligned(struct walk *walk, uint64_t body, uint32_t length)
{
    struct v3_aligned_page_data header;
    uint64_t pfns = body + sizeof(header);

    if (read_at(walk, &header, sizeof(header), body))
        return -1;
    if (header.count > (length - sizeof(header)) / 8)
        return v3_fail_at(walk->error, EBADMSG, walk->offset, 0,
                          "ALIGNED_PAGE_DATA with more pfns than octets");
    return add_batch(walk, pfns, header.count,
                     pfns + header.count * 8ULL + header.pad_length,
                     V3_PFN_ZERO);
}

static const struct {
    uint32_t type;
    uint32_t least;
    int (*add)(struct walk *walk, uint64_t body, uint32_t length);
} kinds[] = {
    { V2_RECORD_PAGE_DATA, sizeof(struct v2_page_data_header),
      add_page_data },
    { V3_RECORD_PAGE_DATA, sizeof(struct v3_aligned_page_data),
      add_aligned },
};

static int walk_records(struct walk *walk)
{
    struct v2_record_header record;
    uint64_t body;
    size_t i;

    do {
        if (read_at(walk, &record, sizeof(record), walk->offset))
            return -1;
        body = walk->offset + sizeof(record);
        for (i = 0; i < ARRAY_SIZE(kinds); i++)
            if (kinds[i].type == record.type &&
                record.length >= kinds[i].least &&
                kinds[i].add(walk, body, record.length))
                return -1;
        walk->offset = body + record.length + record_padding(record.length);
        if (!walk->cached && walk->offset - walk->dropped >= DROP_STEP) {
            posix_fadvise(walk->fd, walk->dropped,
                          walk->offset - walk->dropped,
                          POSIX_FADV_DONTNEED);
            walk->dropped = walk->offset;
        }
    } while (record.type != V2_RECORD_END);
    return 0;
}

/* ---- ascending, each once ----------------------------------------------- */

static void merge(const struct v3_core_place *from, struct v3_core_place *to,
                  uint64_t begin, uint64_t middle, uint64_t end)
{
    uint64_t left = begin, right = middle, i;

    /* Of equals the earlier one first: the last one wins. */
    for (i = begin; i < end; i++)
        to[i] = left < middle &&
                (right >= end || from[left].pfn <= from[right].pfn)
                ? from[left++] : from[right++];
}

/* Bottom up and stable; a stream consists of a few ascending runs. */
static int sort(struct v3_core_places *places, struct v3_error *error)
{
    struct v3_core_place *from = places->place, *to, *other;
    uint64_t count = places->count, width, begin;

    other = malloc(count * sizeof(*other));
    if (!other)
        return v3_fail(error, ENOMEM, "no memory to sort %llu pages",
                       (unsigned long long)count);
    to = other;
    for (width = 1; width < count; width *= 2) {
        for (begin = 0; begin < count; begin += 2 * width)
            merge(from, to, begin, min_u64(begin + width, count),
                  min_u64(begin + 2 * width, count));
        other = from;
        from = to;
        to = other;
    }
    places->place = from;
    places->allocated = count;
    free(to);
    return 0;
}

static void keep_last(struct v3_core_places *places)
{
    struct v3_core_place *place = places->place;
    uint64_t i, kept = 0;

    for (i = 0; i < places->count; i++) {
        if (i + 1 < places->count && place[i + 1].pfn == place[i].pfn)
            continue;
        place[kept++] = place[i];
    }
    places->count = kept;
}

int v3_core_places_find(struct v3_core_places *places, int fd,
                        const struct v3_savefile *savefile,
                        struct v3_error *error)
{
    struct walk *walk = calloc(1, sizeof(*walk));
    int r;

    if (!walk)
        return v3_fail(error, ENOMEM, "cannot allocate a walk");
    walk->places = places;
    walk->fd = v3_reopen(fd, O_RDONLY);
    if (walk->fd < 0) {
        free(walk);
        return v3_fail(error, errno, "cannot open the file again: %s",
                       strerror(errno));
    }
    /* Headers only; the pages between them need not be read ahead. */
    posix_fadvise(walk->fd, 0, 0, POSIX_FADV_RANDOM);
    walk->cached = v3_resident(walk->fd, 0, savefile->file_size) >
                   (int64_t)savefile->file_size / 2;
    walk->file_size = savefile->file_size;
    walk->offset = savefile->stream_start + sizeof(struct v2_image_header) +
                   sizeof(struct v2_domain_header);
    walk->ascending = true;
    walk->error = error;
    r = walk_records(walk);
    if (!r && !walk->ascending)
        r = sort(places, error);
    if (!r)
        keep_last(places);
    if (!walk->cached)
        posix_fadvise(walk->fd, 0, 0, POSIX_FADV_DONTNEED);
    close(walk->fd);
    free(walk);
    return r;
}

const struct v3_core_place *v3_core_places_look_up(
    const struct v3_core_places *places, uint64_t pfn)
{
    uint64_t low = 0, high = places->count, middle;

    while (low < high) {
        middle = low + (high - low) / 2;
        if (places->place[middle].pfn < pfn)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < places->count && places->place[low].pfn == pfn)
        return &places->place[low];
    return NULL;
}
