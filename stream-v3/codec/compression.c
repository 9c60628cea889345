/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The words for compressions.  Apart from what compresses, so that a program
 * that only speaks of it need not load the libraries that do.
 */
#include "codec.h"

static const struct xensave_codec_facts facts[] = {
    [XENSAVE_CODEC_NONE] = { "none", 0, 0, 0 },
    [XENSAVE_CODEC_LZ4] = { "lz4", XENSAVE_MANDATORY_LZ4, 12, 1 },
    /* Beyond 19 it takes memory without bound. */
    [XENSAVE_CODEC_ZSTD] = { "zstd", XENSAVE_MANDATORY_ZSTD, 19, 1 },
};
_Static_assert(ARRAY_SIZE(facts) == XENSAVE_CODECS, "one entry each");

const struct xensave_codec_facts *xensave_codec_facts(uint32_t codec)
{
    return codec < ARRAY_SIZE(facts) ? &facts[codec] : NULL;
}

PUBLIC const char *xensave_codec_name(enum xensave_codec codec)
{
    const struct xensave_codec_facts *known = xensave_codec_facts(codec);

    return known ? known->name : NULL;
}

PUBLIC uint64_t xensave_codec_feature(enum xensave_codec codec)
{
    const struct xensave_codec_facts *known = xensave_codec_facts(codec);

    return known ? known->feature : 0;
}

/* What follows the name: [:LEVEL][:all]. */
static int parse_rest(const char *text,
                      const struct xensave_codec_facts *codec,
                      struct xensave_compression *parsed)
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

PUBLIC int xensave_compression_parse(const char *text,
                                     struct xensave_compression *compression)
{
    size_t length = strcspn(text, ":");
    struct xensave_compression parsed;

    for (uint32_t i = 0; i < XENSAVE_CODECS; i++) {
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
