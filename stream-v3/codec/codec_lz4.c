/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LZ4 blocks; level 1 is the fast compressor, the others the strong one. */
#include <lz4.h>
#include <lz4hc.h>

#include "codec.h"

struct packer {
    int level;
    uint64_t state[];
};

static void *lz4_pack_new(int level)
{
    size_t size = level > 1 ? LZ4_sizeofStateHC() : LZ4_sizeofState();
    struct packer *packer = malloc(sizeof(*packer) + size);

    if (packer)
        packer->level = level;
    return packer;
}

static size_t lz4_pack(void *state, void *to, size_t size, const void *from,
                       size_t length)
{
    struct packer *packer = state;

    if (packer->level > 1)
        return LZ4_compress_HC_extStateHC(packer->state, from, to, length,
                                          size, packer->level);
    return LZ4_compress_fast_extState(packer->state, from, to, length, size,
                                      1);
}

/* It has none, but NULL means that there is no memory. */
static void *lz4_unpack_new(void)
{
    static char none;

    return &none;
}

static bool lz4_unpack(void *state, void *to, size_t length, const void *from,
                       size_t stored)
{
    (void)state;
    return LZ4_decompress_safe(from, to, stored, length) == (int)length;
}

static void lz4_unpack_free(void *state)
{
    (void)state;
}

const struct xensave_codec_ops xensave_codec_lz4 = {
    .pack_new = lz4_pack_new,
    .pack = lz4_pack,
    .pack_free = free,
    .unpack_new = lz4_unpack_new,
    .unpack = lz4_unpack,
    .unpack_free = lz4_unpack_free,
};
