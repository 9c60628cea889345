/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

/*
 * Small reads go into memory of exactly their size, so that one byte too
 * many is seen; large ones where they belong.
 */
#define SMALL 65536U

static ssize_t read_some(struct xensave_decoder *decoder,
                         struct fuzz_bytes *v2, size_t want)
{
    ssize_t got;
    void *exact;

    if (v2->room - v2->length < want) {
        v2->room = 2 * v2->room + want;
        v2->data = realloc(v2->data, v2->room);
        FUZZ_ASSERT(v2->data, NULL);
    }
    if (want > SMALL)
        return xensave_decoder_read_some(decoder, v2->data + v2->length, want);
    exact = malloc(want);
    FUZZ_ASSERT(exact, NULL);
    got = xensave_decoder_read_some(decoder, exact, want);
    FUZZ_ASSERT(got <= (ssize_t)want, NULL);
    if (got > 0)
        memcpy(v2->data + v2->length, exact, got);
    free(exact);
    return got;
}

/* Exactly one byte or an error; 0 where END has been. */
static ssize_t read_one(struct xensave_decoder *decoder, struct fuzz_bytes *v2)
{
    if (!xensave_decoder_read(decoder, v2->data + v2->length, 1))
        return 1;
    return xensave_decoder_ended(decoder) ? 0 : -1;
}

static enum fuzz_result read_all(struct xensave_decoder *decoder,
                                 uint32_t chunks, size_t limit,
                                 struct fuzz_decoded *decoded)
{
    struct fuzz_random random = fuzz_random(chunks);
    struct fuzz_bytes *v2 = &decoded->v2;
    size_t want;
    ssize_t got;

    for (;;) {
        want = chunks ? fuzz_chunk(&random, limit) : limit;
        got = chunks && v2->room > v2->length && !fuzz_below(&random, 8)
                  ? read_one(decoder, v2)
                  : read_some(decoder, v2, want);
        if (got < 0)
            return FUZZ_REFUSED;
        v2->length += got;
        if (!got)
            return FUZZ_ENDED;
        if (v2->length > limit)
            return FUZZ_CUT;
    }
}

enum fuzz_result fuzz_decode(const uint8_t *stream, size_t size,
                             uint64_t start, uint32_t chunks, size_t limit,
                             struct fuzz_decoded *decoded)
{
    struct xensave_decoder *decoder;
    struct xensave_source *source;
    struct xensave_totals totals;
    enum fuzz_result result;
    struct fuzz_bytes room = decoded->v2;
    uint8_t byte;

    /* The same memory each time; it starts as zeros. */
    room.length = 0;
    memset(decoded, 0, sizeof(*decoded));
    decoded->v2 = room;
    source = xensave_source_open_memory(stream, size, start, &decoded->error);
    FUZZ_ASSERT(source, &decoded->error);
    decoder = xensave_decoder_new(source);
    FUZZ_ASSERT(decoder, &decoded->error);
    result = read_all(decoder, chunks, limit, decoded);
    if (result == FUZZ_REFUSED) {
        fuzz_assert_error(&decoded->error);
        FUZZ_ASSERT(!xensave_decoder_ended(decoder), &decoded->error);
        /* What has failed stays failed. */
        FUZZ_ASSERT(xensave_decoder_read_some(decoder, &byte, 1) < 0,
                    &decoded->error);
    }
    decoded->format = xensave_decoder_format(decoder);
    decoded->consumed = xensave_source_offset(source) - start;
    FUZZ_ASSERT(decoded->consumed <= size, &decoded->error);
    xensave_decoder_totals(decoder, &totals);
    FUZZ_ASSERT(totals.bytes == decoded->consumed, &decoded->error);
    FUZZ_ASSERT(totals.v2_bytes == decoded->v2.length, &decoded->error);
    if (result == FUZZ_ENDED)
        FUZZ_ASSERT(xensave_decoder_ended(decoder), &decoded->error);
    xensave_decoder_free(decoder);
    xensave_source_free(source);
    return result;
}

void fuzz_assert_decodes(const struct fuzz_bytes *stream, uint64_t start,
                         const uint8_t *v2, size_t size)
{
    static struct fuzz_decoded decoded;
    enum fuzz_result result;

    result = fuzz_decode(stream->data, stream->length, start, 0, size + 1,
                         &decoded);
    FUZZ_ASSERT(result == FUZZ_ENDED, &decoded.error);
    FUZZ_ASSERT(decoded.consumed == stream->length, &decoded.error);
    FUZZ_ASSERT(decoded.v2.length == size, &decoded.error);
    FUZZ_ASSERT(!memcmp(decoded.v2.data, v2, size), &decoded.error);
}

static bool push_all(struct xensave_encoder *encoder, const uint8_t *v2,
                     size_t size, uint32_t chunks)
{
    struct fuzz_random random = fuzz_random(chunks);
    struct iovec iov[4];
    size_t part;
    int n;

    while (size) {
        n = 0;
        do {
            part = chunks ? fuzz_chunk(&random, size) : size;
            iov[n++] = (struct iovec){ (void *)v2, part };
            v2 += part;
            size -= part;
        } while (n < 4 && size && fuzz_below(&random, 2));
        if (n == 1 ? xensave_encoder_push(encoder, iov[0].iov_base,
                                          iov[0].iov_len)
                   : xensave_encoder_pushv(encoder, iov, n))
            return false;
    }
    return true;
}

bool fuzz_encode(const uint8_t *v2, size_t size, uint64_t start,
                 const struct xensave_encoder_options *options,
                 uint32_t chunks, struct fuzz_bytes *out,
                 struct xensave_error *error)
{
    struct xensave_encoder *encoder;
    struct xensave_totals totals;
    struct xensave_sink *sink;
    bool ended = false;
    void *data;

    *out = (struct fuzz_bytes){ NULL, 0, 0 };
    sink = xensave_sink_open_memory(start, &data, &out->length, error);
    FUZZ_ASSERT(sink, error);
    encoder = xensave_encoder_new(sink, options);
    if (!encoder) {
        FUZZ_ASSERT(error->errnum == EINVAL &&
                        options->format == XENSAVE_FORMAT_COMPAT && start % 8,
                    error);
        xensave_sink_free(sink);
        return false;
    }
    if (push_all(encoder, v2, size, chunks)) {
        FUZZ_ASSERT(!error->text[0], error);
        ended = xensave_encoder_ended(encoder);
        xensave_encoder_totals(encoder, &totals);
        FUZZ_ASSERT(totals.v2_bytes == size, error);
        if (ended)
            FUZZ_ASSERT(totals.bytes == out->length, error);
    } else {
        fuzz_assert_error(error);
        FUZZ_ASSERT(xensave_encoder_push(encoder, v2, 1) < 0, error);
    }
    if (!ended) {
        /* A finished stream with bytes behind it is no success. */
        free(data);
    } else {
        out->data = data;
    }
    xensave_encoder_free(encoder);
    xensave_sink_free(sink);
    return ended;
}
