/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Zstandard frames with their size in them and without a checksum. */
#include <zstd.h>

#include "codec.h"

static void *zstd_pack_new(int level)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();

    if (context &&
        ZSTD_isError(
            ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level))) {
        ZSTD_freeCCtx(context);
        context = NULL;
    }
    return context;
}

static size_t zstd_pack(void *state, void *to, size_t size, const void *from,
                        size_t length)
{
    size_t r = ZSTD_compress2(state, to, size, from, length);

    return ZSTD_isError(r) ? 0 : r;
}

static void zstd_pack_free(void *state)
{
    ZSTD_freeCCtx(state);
}

static void *zstd_unpack_new(void)
{
    return ZSTD_createDCtx();
}

/* The library may take frames of before the standard as well. */
static bool is_standard(const void *from, size_t stored)
{
    const uint32_t expected = ZSTD_MAGICNUMBER;
    uint32_t magic;

    if (stored < sizeof(magic))
        return false;
    memcpy(&magic, from, sizeof(magic));
    return magic == expected;
}

static bool zstd_unpack(void *state, void *to, size_t length, const void *from,
                        size_t stored)
{
    return is_standard(from, stored) &&
           ZSTD_getFrameContentSize(from, stored) == length &&
           ZSTD_findFrameCompressedSize(from, stored) == stored &&
           !ZSTD_getDictID_fromFrame(from, stored) &&
           ZSTD_decompressDCtx(state, to, length, from, stored) == length;
}

static void zstd_unpack_free(void *state)
{
    ZSTD_freeDCtx(state);
}

const struct xensave_codec_ops xensave_codec_zstd = {
    .pack_new = zstd_pack_new,
    .pack = zstd_pack,
    .pack_free = zstd_pack_free,
    .unpack_new = zstd_unpack_new,
    .unpack = zstd_unpack,
    .unpack_free = zstd_unpack_free,
};
