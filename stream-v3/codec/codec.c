/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The compressions that there are, and what a batch says of them. */
#include "codec.h"

static const struct v3_codec_ops *const codecs[] = {
    [V3_CODEC_LZ4] = &v3_codec_lz4,
    [V3_CODEC_ZSTD] = &v3_codec_zstd,
};
_Static_assert(ARRAY_SIZE(codecs) == V3_CODECS, "one entry each");

const struct v3_codec_ops *v3_codec_find(uint32_t codec)
{
    return codec < ARRAY_SIZE(codecs) ? codecs[codec] : NULL;
}

/* ---- unpacking ----------------------------------------------------------- */

void *v3_unpacker_room(struct v3_unpacker *unpacker)
{
    if (!unpacker->stored &&
        posix_memalign((void **)&unpacker->stored, V2_PAGE_SIZE,
                       (size_t)V3_BATCH_MAX * V2_PAGE_SIZE))
        unpacker->stored = NULL;
    return unpacker->stored;
}

int v3_unpack(struct v3_unpacker *unpacker, uint32_t codec, void *to,
              size_t length, size_t stored)
{
    const struct v3_codec_ops *ops = v3_codec_find(codec);

    if (!ops)
        return EBADMSG;
    if (!unpacker->state[codec])
        unpacker->state[codec] = ops->unpack_new();
    if (!unpacker->state[codec])
        return ENOMEM;
    return ops->unpack(unpacker->state[codec], to, length, unpacker->stored,
                       stored) ? 0 : EBADMSG;
}

void v3_unpacker_free(struct v3_unpacker *unpacker)
{
    for (uint32_t i = 0; i < V3_CODECS; i++) {
        if (codecs[i] && unpacker->state[i])
            codecs[i]->unpack_free(unpacker->state[i]);
        unpacker->state[i] = NULL;
    }
    free(unpacker->stored);
    unpacker->stored = NULL;
}

/* ---- batches ------------------------------------------------------------- */

bool v3_batch_fits(const struct v3_aligned_header *header,
                   const struct v2_record_header *record,
                   const struct v3_aligned_page_data *aligned,
                   uint32_t *stored)
{
    uint32_t codec = v3_batch_codec(aligned), before;
    const struct v3_codec_ops *ops = v3_codec_find(codec);
    uint32_t contents = aligned->pages * V2_PAGE_SIZE;

    if (!aligned->count || aligned->count > V3_BATCH_MAX ||
        aligned->pages > aligned->count ||
        (aligned->flags & ~V3_BATCH_CODEC_MASK) ||
        aligned->pad_length >= header->alignment ||
        (!aligned->pages && aligned->pad_length))
        return false;
    before = sizeof(*aligned) + 8 * aligned->count + aligned->pad_length;
    if (record->length < before)
        return false;
    *stored = record->length - before;
    if (codec == V3_CODEC_NONE)
        return *stored == contents;
    return ops && (header->mandatory_features & v3_codec_feature(codec)) && *stored &&
           aligned->pages > 1 && *stored <= contents - V2_PAGE_SIZE;
}
