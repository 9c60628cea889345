/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "encoder.h"

int xensave_encoder_copy_page(struct xensave_encoder *encoder,
                              const void *page)
{
    size_t left = XENSAVE_V2_PAGE_SIZE, got;
    void *space;

    while (left) {
        space = encoder->sink->ops->space(encoder->sink, left, &got);
        if (!space)
            return -1;
        memcpy(space, page, got);
        /* Of the copy: the guest may still be writing to its page. */
        xensave_checksum_add(&encoder->part, space, got);
        encoder->sink->ops->advance(encoder->sink, got);
        page = (const uint8_t *)page + got;
        left -= got;
    }
    return 0;
}
