/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PADDING: spec 3.4. */
#include <xxh_x86dispatch.h>

#include "stream-v3/internal.h"

void xensave_padding_init(struct xensave_padding_record *padding,
                          uint32_t kind)
{
    memset(padding, 0, sizeof(*padding));
    padding->record.type = XENSAVE_RECORD_PADDING;
    padding->record.length = sizeof(padding->body);
    memcpy(padding->body.magic, XENSAVE_MAGIC, sizeof(padding->body.magic));
    padding->body.kind = kind;
}

uint64_t xensave_padding_start_checksum(
    const struct xensave_padding_record *padding)
{
    struct xensave_padding_record copy = *padding;

    copy.body.checksum = 0;
    return XXH3_64bits(&copy, sizeof(copy));
}

bool xensave_padding_is_start(const struct xensave_padding_record *padding)
{
    return padding->record.length == sizeof(padding->body) &&
           !memcmp(padding->body.magic, XENSAVE_MAGIC,
                   sizeof(padding->body.magic)) &&
           padding->body.kind == XENSAVE_PADDING_START &&
           padding->body.head_padding < 8 &&
           padding->body.checksum == xensave_padding_start_checksum(padding);
}

bool xensave_padding_is_batch(const struct xensave_padding_record *padding)
{
    return !memcmp(padding->body.magic, XENSAVE_MAGIC,
                   sizeof(padding->body.magic)) &&
           padding->body.kind == XENSAVE_PADDING_BATCH &&
           !padding->body.head_padding;
}
