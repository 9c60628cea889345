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

/* What follows the name: [:LEVEL][:all]. */
static int parse_rest(const char *text, const struct v3_codec_facts *codec,
                      struct v3_compression *parsed)
{
    long level = codec->level_default;
    char *end;

    if (*text == ':' && text[1] >= '0' && text[1] <= '9') {
        errno = 0;
        level = strtol(text + 1, &end, 10);
        if (errno || level < 1)
            return -1;
        text = end;
    }
    parsed->level = level;
    parsed->all = !strcmp(text, ":all");
    if (level > codec->level_max)
        return -1;
    /* "none" has neither. */
    return !*text || (parsed->all && codec->feature) ? 0 : -1;
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
        if (parse_rest(text + length, &facts[i], &parsed))
            break;
        *compression = parsed;
        return 0;
    }
    errno = EINVAL;
    return -1;
}
