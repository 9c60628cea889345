/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Everything as it is, but for our own types: those need our header first. */
#include <inttypes.h>

#include "decoder.h"

static int v2_record(struct v3_decoder *decoder)
{
    if ((decoder->record.type & V3_RECORD_VENDOR_MASK) == V3_RECORD_VENDOR)
        return v3_decoder_fail(decoder, "record type 0x%08" PRIx32 " without "
                               "ALIGNED_HEADER; the stream is damaged",
                               decoder->record.type);
    return v3_decoder_pass_record(decoder);
}

const struct v3_decoder_format v3_decoder_v2 = {
    .format = V3_FORMAT_V2,
    .record = v2_record,
};
