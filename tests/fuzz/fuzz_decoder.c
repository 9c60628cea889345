/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes into the decoder, in reads of any size.  It answers with bytes
 * or with one error, the same whatever the sizes of the reads; and what it
 * accepts as a whole survives being encoded again, in v3 and in compat.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

/* A pfn of eight bytes can stand for a page of zeros: not more of those. */
#define LIMIT      (96U << 10)
#define FLAG_DEEP  1U /* but now and then a full batch */
#define LIMIT_DEEP (5U << 20)

static void encode_again(const struct fuzz_bytes *v2, uint64_t start)
{
    struct xensave_encoder_options options;
    struct fuzz_bytes stream;
    struct xensave_error error;

    for (int format = XENSAVE_FORMAT_COMPAT; format <= XENSAVE_FORMAT_V3;
         format++) {
        options = (struct xensave_encoder_options){
            .size = sizeof(struct xensave_encoder_options), .format = format
        };
        if (format == XENSAVE_FORMAT_COMPAT)
            start &= ~7ULL;
        FUZZ_ASSERT(fuzz_encode(v2->data, v2->length, start, &options, 0,
                                &stream, &error),
                    &error);
        if (format == XENSAVE_FORMAT_V3)
            fuzz_make_streamed(stream.data, stream.length);
        fuzz_assert_decodes(&stream, start, v2->data, v2->length);
        free(stream.data);
    }
}

static void assert_same(const struct fuzz_decoded *a, enum fuzz_result first,
                        const struct fuzz_decoded *b, enum fuzz_result second)
{
    size_t common = a->v2.length < b->v2.length ? a->v2.length : b->v2.length;

    if (common)
        FUZZ_ASSERT(!memcmp(a->v2.data, b->v2.data, common), &a->error);
    if (first == FUZZ_CUT || second == FUZZ_CUT)
        return;
    FUZZ_ASSERT(first == second, &a->error);
    FUZZ_ASSERT(a->format == b->format, &a->error);
    if (first == FUZZ_ENDED) {
        FUZZ_ASSERT(a->v2.length == b->v2.length, &a->error);
        FUZZ_ASSERT(a->consumed == b->consumed, &a->error);
    } else {
        /* A body that is cut off ends where the read that met it says. */
        FUZZ_ASSERT(a->error.errnum == b->error.errnum, &a->error);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz_decoded once, again;
    struct fuzz_control control;
    enum fuzz_result first, second;
    size_t limit;

    if (!fuzz_control(&control, &data, &size))
        return 0;
    limit = control.flags & FLAG_DEEP ? LIMIT_DEEP : LIMIT;
    first = fuzz_decode(data, size, control.start, control.chunks, limit,
                        &once);
    /* The second time only where the first got somewhere. */
    if (once.v2.length > FUZZ_HEADERS) {
        second = fuzz_decode(data, size, control.start, !control.chunks, limit,
                             &again);
        assert_same(&once, first, &again, second);
    }
    if (first == FUZZ_ENDED && once.format != XENSAVE_FORMAT_V2)
        encode_again(&once.v2, control.start);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
                               unsigned seed)
{
    struct fuzz_random random = fuzz_random(seed);
    const size_t start = sizeof(struct fuzz_control);

    if (size < start || !fuzz_below(&random, 8))
        return LLVMFuzzerMutate(data, size, max);
    size = fuzz_mutate(data, size, max, start, &random);
    if (size > start && fuzz_below(&random, 8))
        fuzz_seal(&(struct fuzz_seal){ .data = data,
                                       .size = size,
                                       .start = start,
                                       .offset = data[0],
                                       .totals = fuzz_below(&random, 4) });
    return size;
}
