/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>

#include "options.h"

/* Options with a value, and without. */
static const struct {
    int opt;
    const char *name;
    size_t offset;
} texts[] = {
    { OPTION_SSH, "ssh", offsetof(struct carrier_options, ssh) },
    { OPTION_CERT, "cert", offsetof(struct carrier_options, cert) },
    { OPTION_KEY, "key", offsetof(struct carrier_options, key) },
    { OPTION_AUTHORITY, "ca",
      offsetof(struct carrier_options, authority) },
    { OPTION_REVOKED, "crl", offsetof(struct carrier_options, revoked) },
    { OPTION_PEER_NAME, "peer-name",
      offsetof(struct carrier_options, peer_name) },
}, truths[] = {
    { OPTION_INSECURE, "insecure",
      offsetof(struct carrier_options, insecure) },
    { OPTION_STOCK, "stock", offsetof(struct carrier_options, stock) },
};

#define TEXTS  (sizeof(texts) / sizeof(texts[0]))
#define TRUTHS (sizeof(truths) / sizeof(truths[0]))

bool carrier_option(int opt, const char *value,
                    struct carrier_options *options)
{
    size_t i;

    for (i = 0; i < TEXTS; i++) {
        if (texts[i].opt == opt) {
            *(const char **)((char *)options + texts[i].offset) = value;
            return true;
        }
    }
    for (i = 0; i < TRUTHS; i++) {
        if (truths[i].opt == opt) {
            *(bool *)((char *)options + truths[i].offset) = true;
            return true;
        }
    }
    return false;
}

void carrier_options_words(const struct carrier_options *options,
                           struct arguments *words)
{
    const char *value;
    char *word;
    size_t i;

    for (i = 0; i < TEXTS; i++) {
        value = *(const char *const *)((const char *)options +
                                       texts[i].offset);
        if (!value)
            continue;
        word = xasprintf("--%s=%s", texts[i].name, value);
        arguments_add(words, word);
        free(word);
    }
    for (i = 0; i < TRUTHS; i++) {
        if (!*(const bool *)((const char *)options + truths[i].offset))
            continue;
        word = xasprintf("--%s", truths[i].name);
        arguments_add(words, word);
        free(word);
    }
}
