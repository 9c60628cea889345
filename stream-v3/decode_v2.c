/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Everything as it is. */
#include "decoder.h"

const struct v3_decoder_format v3_decoder_v2 = {
    .format = V3_FORMAT_V2,
};
