/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "xl-cmds/cmds.h"
#include "common/text.h"
#include "carrier.h"

static const struct carrier *const carriers[] = {
    &carrier_ssh,
    &carrier_tls,
    &carrier_unix,
    &carrier_tcp,
};

#define CARRIERS (sizeof(carriers) / sizeof(carriers[0]))

/* ssh would only report that it cannot resolve it. */
static bool is_misspelt(const char *address, size_t length)
{
    char word[16];
    size_t i;

    if (!address[length] || length >= sizeof(word))
        return false;
    memcpy(word, address, length);
    word[length] = '\0';
    for (i = 0; i < CARRIERS; i++) {
        if (!text_resembles(word, carriers[i]->name))
            continue;
        report("unknown carrier %s; did you mean %s%s?", word,
               carriers[i]->name, address + length);
        return true;
    }
    return false;
}

const struct carrier *carrier_find(const char *address, bool to_listen,
                                   const char **rest)
{
    size_t i, length = strcspn(address, ":");

    for (i = 0; i < CARRIERS; i++) {
        if (strncmp(address, carriers[i]->name, length) ||
            carriers[i]->name[length] || address[length] != ':')
            continue;
        *rest = address + length + 1;
        if (!to_listen || carriers[i]->listen)
            return carriers[i];
    }
    if (is_misspelt(address, length))
        return NULL;
    if (!to_listen) {
        /* A host as xl migrate takes it. */
        *rest = address;
        return &carrier_ssh;
    }
    report("%s is none of tls:HOST[:PORT], unix:PATH, tcp:HOST[:PORT]",
           address);
    return NULL;
}
