/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The compressions that there are. */
#include "codec.h"

static const struct xensave_codec_ops *const codecs[] = {
    [XENSAVE_CODEC_LZ4] = &xensave_codec_lz4,
    [XENSAVE_CODEC_ZSTD] = &xensave_codec_zstd,
};
_Static_assert(ARRAY_SIZE(codecs) == XENSAVE_CODECS, "one entry each");

const struct xensave_codec_ops *xensave_codec_find(uint32_t codec)
{
    return codec < ARRAY_SIZE(codecs) ? codecs[codec] : NULL;
}

/* ---- unpacking ---------------------------------------------------------- */

int xensave_unpack(struct xensave_unpacker *unpacker, uint32_t codec, void *to,
                   size_t length, const void *stored, size_t size)
{
    const struct xensave_codec_ops *ops = xensave_codec_find(codec);

    if (!ops)
        return EPROTO;
    if (!unpacker->state[codec])
        unpacker->state[codec] = ops->unpack_new();
    if (!unpacker->state[codec])
        return ENOMEM;
    return ops->unpack(unpacker->state[codec], to, length, stored, size)
               ? 0
               : EPROTO;
}

void xensave_unpacker_free(struct xensave_unpacker *unpacker)
{
    for (uint32_t i = 0; i < XENSAVE_CODECS; i++) {
        if (codecs[i] && unpacker->state[i])
            codecs[i]->unpack_free(unpacker->state[i]);
        unpacker->state[i] = NULL;
    }
}
