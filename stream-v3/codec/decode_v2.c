/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Everything as it is. */
#include "decoder.h"

const struct xensave_decoder_format xensave_decoder_v2 = {
    .format = XENSAVE_FORMAT_V2,
};
