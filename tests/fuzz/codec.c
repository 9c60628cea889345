/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

/*
 * Small reads go into memory of exactly their size, so that one octet too
 * many is seen; large ones where they belong.
 */
#define SMALL 65536U

static ssize_t read_some(struct v3_decoder *decoder, struct fuzz_octets *v2,
                         size_t want)
{
    ssize_t got;
    void *exact;

    if (v2->room - v2->length < want) {
        v2->room = 2 * v2->room + want;
        v2->data = realloc(v2->data, v2->room);
        FUZZ_ASSERT(v2->data, NULL);
    }
    if (want > SMALL)
        return v3_decoder_read_some(decoder, v2->data + v2->length, want);
    exact = malloc(want);
    FUZZ_ASSERT(exact, NULL);
    got = v3_decoder_read_some(decoder, exact, want);
    FUZZ_ASSERT(got <= (ssize_t)want, NULL);
    if (got > 0)
        memcpy(v2->data + v2->length, exact, got);
    free(exact);
    return got;
}

/* Exactly one octet or an error; 0 where END has been. */
static ssize_t read_one(struct v3_decoder *decoder, struct fuzz_octets *v2)
{
    if (!v3_decoder_read(decoder, v2->data + v2->length, 1))
        return 1;
    return v3_decoder_ended(decoder) ? 0 : -1;
}

static enum fuzz_result read_all(struct v3_decoder *decoder, uint32_t chunks,
                                 size_t limit, struct fuzz_decoded *decoded)
{
    struct fuzz_random random = fuzz_random(chunks);
    struct fuzz_octets *v2 = &decoded->v2;
    size_t want;
    ssize_t got;

    for (;;) {
        want = chunks ? fuzz_chunk(&random, limit) : limit;
        got = chunks && v2->room > v2->length && !fuzz_below(&random, 8)
              ? read_one(decoder, v2) : read_some(decoder, v2, want);
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
    struct v3_error source_error;
    struct v3_decoder *decoder;
    struct v3_source *source;
    struct v3_totals totals;
    enum fuzz_result result;
    struct fuzz_octets room = decoded->v2;
    uint8_t octet;

    /* The same memory each time; it starts as zeros. */
    room.length = 0;
    memset(decoded, 0, sizeof(*decoded));
    decoded->v2 = room;
    source = v3_source_open_memory(stream, size, start, &source_error);
    FUZZ_ASSERT(source, &source_error);
    decoder = v3_decoder_new(source, &decoded->error);
    FUZZ_ASSERT(decoder, &decoded->error);
    result = read_all(decoder, chunks, limit, decoded);
    if (result == FUZZ_REFUSED) {
        fuzz_assert_error(&decoded->error);
        FUZZ_ASSERT(!v3_decoder_ended(decoder), &decoded->error);
        /* What has failed stays failed. */
        FUZZ_ASSERT(v3_decoder_read_some(decoder, &octet, 1) < 0,
                    &decoded->error);
    }
    decoded->format = v3_decoder_format(decoder);
    decoded->consumed = v3_source_offset(source) - start;
    FUZZ_ASSERT(decoded->consumed <= size, &decoded->error);
    v3_decoder_totals(decoder, &totals);
    FUZZ_ASSERT(totals.bytes == decoded->consumed, &decoded->error);
    FUZZ_ASSERT(totals.v2_bytes == decoded->v2.length, &decoded->error);
    if (result == FUZZ_ENDED)
        FUZZ_ASSERT(v3_decoder_ended(decoder), &decoded->error);
    v3_decoder_free(decoder);
    v3_source_free(source);
    return result;
}

void fuzz_assert_decodes(const struct fuzz_octets *stream, uint64_t start,
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

static bool push_all(struct v3_encoder *encoder, const uint8_t *v2,
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
            iov[n++] = (struct iovec){(void *)v2, part};
            v2 += part;
            size -= part;
        } while (n < 4 && size && fuzz_below(&random, 2));
        if (n == 1 ? v3_encoder_push(encoder, iov[0].iov_base, iov[0].iov_len)
                   : v3_encoder_pushv(encoder, iov, n))
            return false;
    }
    return true;
}

bool fuzz_encode(const uint8_t *v2, size_t size, uint64_t start,
                 const struct v3_encoder_options *options, uint32_t chunks,
                 struct fuzz_octets *out, struct v3_error *error)
{
    struct v3_error sink_error;
    struct v3_encoder *encoder;
    struct v3_totals totals;
    struct v3_sink *sink;
    bool ended = false;
    void *data;

    *out = (struct fuzz_octets){NULL, 0, 0};
    sink = v3_sink_open_memory(start, &data, &out->length, &sink_error);
    FUZZ_ASSERT(sink, &sink_error);
    encoder = v3_encoder_new(sink, options, error);
    if (!encoder) {
        FUZZ_ASSERT(error->errnum == EINVAL &&
                    options->format == V3_FORMAT_COMPAT && start % 8, error);
        v3_sink_free(sink);
        return false;
    }
    if (push_all(encoder, v2, size, chunks)) {
        FUZZ_ASSERT(!error->text[0], error);
        ended = v3_encoder_ended(encoder);
        v3_encoder_totals(encoder, &totals);
        FUZZ_ASSERT(totals.v2_bytes == size, error);
        if (ended)
            FUZZ_ASSERT(totals.bytes == out->length, error);
    } else {
        fuzz_assert_error(error);
        FUZZ_ASSERT(v3_encoder_push(encoder, v2, 1) < 0, error);
    }
    if (!ended) {
        /* A finished stream with octets behind it is no success. */
        free(data);
    } else {
        out->data = data;
    }
    v3_encoder_free(encoder);
    v3_sink_free(sink);
    return ended;
}
