/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spec 3.2.1 from the reader's side. */
#include "decoder.h"

/*
 * The stored pages stand at the end of the buffer, in order; each moves to its
 * place, which is not behind where it stands.
 */
static void spread(const struct xensave_decoder *decoder, uint8_t *to)
{
    const struct xensave_batch_head *head = &decoder->head;
    const uint8_t *from = to +
                          (size_t)(decoder->contents - head->aligned.pages) *
                              XENSAVE_V2_PAGE_SIZE;

    for (uint32_t i = 0; i < head->aligned.count; i++) {
        if (!xensave_pfn_has_contents(head->arrays[i]))
            continue;
        if (head->arrays[i] & XENSAVE_PFN_ZERO) {
            memset(to, 0, XENSAVE_V2_PAGE_SIZE);
        } else {
            if (to != from)
                memmove(to, from, XENSAVE_V2_PAGE_SIZE);
            from += XENSAVE_V2_PAGE_SIZE;
        }
        to += XENSAVE_V2_PAGE_SIZE;
    }
}

int xensave_decoder_read_packed(struct xensave_decoder *decoder, uint8_t *to)
{
    struct xensave_batch_head *head = &decoder->head;
    size_t length = (size_t)head->aligned.pages * XENSAVE_V2_PAGE_SIZE;
    uint8_t *stored = xensave_decoder_room(decoder, &decoder->stored);
    uint32_t frame;
    int r;

    if (!stored ||
        xensave_source_read(decoder->source, stored, decoder->shape.stored))
        return -1;
    r = xensave_batch_open(
        &decoder->unpacker, head, &decoder->shape, stored,
        to + (size_t)decoder->contents * XENSAVE_V2_PAGE_SIZE - length,
        &frame);
    if (r)
        return xensave_decoder_bad_frame(decoder, r, frame);
    spread(decoder, to);
    return 0;
}
