/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Everything as it is, but for our own types: those need our header first. */
#include <inttypes.h>

#include "decoder.h"

static int v2_record(struct xensave_decoder *decoder)
{
    if (xensave_record_is_ours(decoder->record.type))
        return xensave_decoder_fail(decoder,
                                    "record type 0x%08" PRIx32 " without "
                                    "ALIGNED_HEADER; the stream is damaged",
                                    decoder->record.type);
    return xensave_decoder_pass_record(decoder);
}

const struct xensave_decoder_format xensave_decoder_v2 = {
    .format = XENSAVE_FORMAT_V2,
    .record = v2_record,
};
