/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spec 3.2.1 from the reader's side. */
#include "decoder.h"

/*
 * The stored pages stand at the end of the room, in order; each moves to its
 * place, which is not behind where it stands.
 */
static void spread(const struct v3_decoder *decoder, uint8_t *to)
{
    const uint8_t *from = to + (size_t)(decoder->contents -
                                        decoder->aligned.pages) *
                               V2_PAGE_SIZE;

    for (uint32_t i = 0; i < decoder->aligned.count; i++) {
        if (!v3_pfn_has_contents(decoder->pfns[i]))
            continue;
        if (decoder->pfns[i] & V3_PFN_ZERO) {
            memset(to, 0, V2_PAGE_SIZE);
        } else {
            if (to != from)
                memmove(to, from, V2_PAGE_SIZE);
            from += V2_PAGE_SIZE;
        }
        to += V2_PAGE_SIZE;
    }
}

int v3_decoder_read_packed(struct v3_decoder *decoder, uint8_t *to)
{
    const struct v3_aligned_page_data *aligned = &decoder->aligned;
    size_t length = (size_t)aligned->pages * V2_PAGE_SIZE;
    uint8_t *room = v3_unpacker_room(&decoder->unpacker);
    uint32_t codec = v3_batch_codec(aligned);
    int r;

    if (!room)
        return v3_fail(decoder->error, ENOMEM,
                       "cannot allocate memory for a compressed batch");
    if (v3_decoder_read_stored(decoder, room, decoder->stored) ||
        v3_decoder_zeros(decoder, record_padding(decoder->record.length)) ||
        v3_decoder_check_batch(decoder))
        return -1;
    r = v3_unpack(&decoder->unpacker, codec,
                  to + (size_t)decoder->contents * V2_PAGE_SIZE - length,
                  length, decoder->stored);
    if (r == EBADMSG)
        return v3_decoder_fail(decoder, "batch that does not decompress "
                               "(%s) to its %u pages; whatever wrote the "
                               "stream is broken", v3_codec_name(codec),
                               aligned->pages);
    if (r)
        return v3_fail(decoder->error, r,
                       "cannot allocate memory to decompress a batch");
    spread(decoder, to);
    return 0;
}
