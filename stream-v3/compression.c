/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The words for compressions.  Apart from what compresses, so that a program
 * that only speaks of it need not load the libraries that do.
 */
#include "codec.h"

static const struct v3_codec_facts facts[] = {
    [V3_CODEC_NONE] = {"none", 0, 0, 0},
    [V3_CODEC_LZ4] = {"lz4", V3_MANDATORY_LZ4, 12, 1},
    /* Beyond 19 it takes memory without bound. */
    [V3_CODEC_ZSTD] = {"zstd", V3_MANDATORY_ZSTD, 19, 1},
};
_Static_assert(ARRAY_SIZE(facts) == V3_CODECS, "one entry each");

const struct v3_codec_facts *v3_codec_facts(uint32_t codec)
{
    return codec < ARRAY_SIZE(facts) ? &facts[codec] : NULL;
}

PUBLIC const char *v3_codec_name(enum v3_codec codec)
{
    const struct v3_codec_facts *known = v3_codec_facts(codec);

    return known ? known->name : NULL;
}

PUBLIC uint64_t v3_codec_feature(enum v3_codec codec)
{
    const struct v3_codec_facts *known = v3_codec_facts(codec);

    return known ? known->feature : 0;
}

static int parse_level(const char *text, int max)
{
    long level;
    char *end;

    if (*text < '0' || *text > '9')
        return -1;
    errno = 0;
    level = strtol(text, &end, 10);
    return errno || *end || level < 1 || level > max ? -1 : level;
}

PUBLIC int v3_compression_parse(const char *text,
                                struct v3_compression *compression)
{
    size_t length = strcspn(text, ":");
    struct v3_compression parsed;

    for (uint32_t i = 0; i < V3_CODECS; i++) {
        if (strlen(facts[i].name) != length ||
            strncmp(facts[i].name, text, length))
            continue;
        parsed.codec = i;
        parsed.level = text[length] ? parse_level(text + length + 1,
                                                  facts[i].level_max)
                                    : facts[i].level_default;
        if (parsed.level < 0)
            break;
        *compression = parsed;
        return 0;
    }
    errno = EINVAL;
    return -1;
}
