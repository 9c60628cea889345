/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

void fuzz_fail(const char *what, const struct xensave_error *error)
{
    fprintf(stderr, "does not hold: %s\n", what);
    if (error)
        fprintf(stderr, "error %d: %s\n", error->errnum, error->text);
    abort();
}

void fuzz_assert_error(const struct xensave_error *error)
{
    FUZZ_ASSERT(error->text[0], error);
    FUZZ_ASSERT(!strchr(error->text, '\n'), error);
    FUZZ_ASSERT(memchr(error->text, 0, sizeof(error->text)), error);
    FUZZ_ASSERT(error->errnum > 0, error);
}

bool fuzz_control(struct fuzz_control *control, const uint8_t **data,
                  size_t *size)
{
    if (*size < sizeof(*control))
        return false;
    memcpy(control, *data, sizeof(*control));
    *data += sizeof(*control);
    *size -= sizeof(*control);
    return true;
}

struct fuzz_random fuzz_random(uint64_t seed)
{
    /* Never the one state that xorshift does not leave. */
    return (struct fuzz_random){ (seed + 1) * 0x9e3779b97f4a7c15ULL | 1 };
}

uint32_t fuzz_below(struct fuzz_random *random, uint32_t bound)
{
    random->state ^= random->state << 13;
    random->state ^= random->state >> 7;
    random->state ^= random->state << 17;
    return (random->state >> 32) % bound;
}

size_t fuzz_chunk(struct fuzz_random *random, size_t left)
{
    static const uint32_t most[] = { 1, 8, 24, 200, 4096, 9000, 1 << 17 };
    size_t chunk;

    chunk = 1 + fuzz_below(random, most[fuzz_below(random, 7)]);
    return chunk < left ? chunk : left;
}

size_t fuzz_records(const uint8_t *data, size_t size, size_t start,
                    struct fuzz_record *records, size_t max)
{
    struct xensave_v2_record_header header;
    size_t count = 0, at = start + FUZZ_HEADERS;

    while (count < max && at <= size && size - at >= sizeof(header)) {
        struct fuzz_record *record = &records[count];

        memcpy(&header, data + at, sizeof(header));
        record->offset = at;
        record->type = header.type;
        record->length = header.length;
        record->bytes = sizeof(header) +
                        (((size_t)header.length + 7) & ~(size_t)7);
        if (record->bytes > size - at)
            break;
        at += record->bytes;
        count++;
        if (header.type == XENSAVE_V2_RECORD_END)
            break;
    }
    return count;
}
