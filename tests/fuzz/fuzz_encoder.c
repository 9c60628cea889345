/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes into the encoder, in pushes of any size, in every format.  What
 * it takes as a whole decodes to the bytes that were pushed; the pushes make
 * no difference; page contents lie where they should.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define FLAG_KEEP_ZERO_PAGES 1U
#define CODEC(flags)         ((flags) >> 1 & 3U) /* 3: none, as well */

static size_t frames_of(const struct xensave_aligned_page_data *head)
{
    uint32_t log = head->flags >> XENSAVE_BATCH_FRAME_SHIFT;

    return ((size_t)head->pages + (1U << log) - 1) >> log;
}

static void assert_aligned(const struct fuzz_bytes *stream, uint64_t start)
{
    static struct fuzz_record records[512];
    struct xensave_aligned_page_data head;
    struct xensave_padding padding;
    size_t count, pages;

    count = fuzz_records(stream->data, stream->length, 0, records, 512);
    for (size_t i = 0; i < count; i++) {
        const uint8_t *body = stream->data + records[i].offset + 8;

        pages = 0;
        if (records[i].type == XENSAVE_RECORD_PAGE_DATA) {
            memcpy(&head, body, sizeof(head));
            if (head.pages)
                pages = records[i].offset + 8 + sizeof(head) +
                        8 * (size_t)head.count + head.pad_length +
                        12 * frames_of(&head);
        } else if (records[i].type == XENSAVE_RECORD_PADDING &&
                   i + 1 < count) {
            struct xensave_v2_page_data_header batch;

            memcpy(&padding, body, sizeof(padding));
            memcpy(&batch, stream->data + records[i + 1].offset + 8,
                   sizeof(batch));
            if (padding.kind == XENSAVE_PADDING_BATCH)
                pages = records[i + 1].offset + 16 + 8 * (size_t)batch.count;
        }
        if (pages)
            FUZZ_ASSERT((start + pages) % XENSAVE_V2_PAGE_SIZE == 0, NULL);
    }
}

static void assert_identity(struct fuzz_bytes *stream, uint64_t start,
                            enum xensave_format format, const uint8_t *v2,
                            size_t size)
{
    if (format == XENSAVE_FORMAT_V2) {
        FUZZ_ASSERT(stream->length == size, NULL);
        FUZZ_ASSERT(!memcmp(stream->data, v2, size), NULL);
        return;
    }
    if (format == XENSAVE_FORMAT_V3)
        fuzz_make_streamed(stream->data, stream->length);
    assert_aligned(stream, start);
    fuzz_assert_decodes(stream, start, v2, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct xensave_encoder_options options = {
        .size = sizeof(struct xensave_encoder_options),
        .format = XENSAVE_FORMAT_V2,
        .file_id = "the same twice",
    };
    struct fuzz_bytes once, again;
    struct fuzz_control control;
    struct xensave_error error, same;
    bool ended;

    if (!fuzz_control(&control, &data, &size))
        return 0;
    options.format = control.number % 3;
    options.keep_zero_pages = control.flags & FLAG_KEEP_ZERO_PAGES;
    if (options.format == XENSAVE_FORMAT_V3 &&
        CODEC(control.flags) < XENSAVE_CODECS) {
        options.compression.codec = CODEC(control.flags);
        options.compression.all = true; /* twice the same */
        options.threads = 1 + (control.flags >> 3 & 1);
    }
    if (options.format == XENSAVE_FORMAT_COMPAT)
        options.head_padding = control.number >> 8 & 7;
    ended = fuzz_encode(data, size, control.start, &options, control.chunks,
                        &once, &error);
    FUZZ_ASSERT(fuzz_encode(data, size, control.start, &options,
                            !control.chunks, &again, &same) == ended,
                &same);
    FUZZ_ASSERT(!strcmp(error.text, same.text), &same);
    if (ended) {
        FUZZ_ASSERT(once.length == again.length, &same);
        FUZZ_ASSERT(!memcmp(once.data, again.data, once.length), &same);
        assert_identity(&once, control.start, options.format, data, size);
    }
    free(once.data);
    free(again.data);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
                               unsigned seed)
{
    struct fuzz_random random = fuzz_random(seed);
    const size_t start = sizeof(struct fuzz_control);

    if (size < start || !fuzz_below(&random, 8))
        return LLVMFuzzerMutate(data, size, max);
    return fuzz_mutate(data, size, max, start, &random);
}
