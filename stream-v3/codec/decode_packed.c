/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spec 3.2.1 from the reader's side. */
#include "decoder.h"

/*
 * The stored pages stand at the end of the buffer, in order; each moves to its
 * place, which is not behind where it stands.
 */
static void spread(const struct xensave_decoder *decoder, uint8_t *to)
{
    const uint8_t *from = to + (size_t)(decoder->contents -
                                        decoder->aligned.pages) *
                                   XENSAVE_V2_PAGE_SIZE;

    for (uint32_t i = 0; i < decoder->aligned.count; i++) {
        if (!xensave_pfn_has_contents(decoder->pfns[i]))
            continue;
        if (decoder->pfns[i] & XENSAVE_PFN_ZERO) {
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
    const struct xensave_aligned_page_data *aligned = &decoder->aligned;
    size_t length = (size_t)aligned->pages * XENSAVE_V2_PAGE_SIZE;
    uint8_t *buffer = xensave_unpacker_buffer(&decoder->unpacker);
    uint32_t codec = xensave_batch_codec(aligned);
    int r;

    if (!buffer)
        return xensave_fail(decoder->error, ENOMEM,
                            "cannot allocate memory for a compressed batch");
    if (xensave_decoder_read_stored(decoder, buffer, decoder->stored) ||
        xensave_decoder_zeros(decoder,
                              record_padding(decoder->record.length)) ||
        xensave_decoder_check_batch(decoder))
        return -1;
    r = xensave_unpack(&decoder->unpacker, codec,
                       to + (size_t)decoder->contents * XENSAVE_V2_PAGE_SIZE -
                           length,
                       length, decoder->stored);
    if (r == EBADMSG)
        return xensave_decoder_fail(decoder,
                                    "batch that does not decompress "
                                    "(%s) to its %u pages; whatever wrote the "
                                    "stream is broken",
                                    xensave_codec_name(codec), aligned->pages);
    if (r)
        return xensave_fail(decoder->error, r,
                            "cannot allocate memory to decompress a batch");
    spread(decoder, to);
    return 0;
}
