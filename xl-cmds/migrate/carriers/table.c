/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "xl-cmds/cmds.h"
#include "common/text.h"
#include "transport.h"

static const struct transport *const transports[] = {
    &transport_ssh,
    &transport_tls,
    &transport_unix,
    &transport_tcp,
};

#define TRANSPORTS (sizeof(transports) / sizeof(transports[0]))

/* ssh would only say that it cannot resolve it. */
static bool is_misspelt(const char *address, size_t length)
{
    char word[16];
    size_t i;

    if (!address[length] || length >= sizeof(word))
        return false;
    memcpy(word, address, length);
    word[length] = '\0';
    for (i = 0; i < TRANSPORTS; i++) {
        if (!text_resembles(word, transports[i]->name))
            continue;
        report("unknown transport %s; did you mean %s%s?", word,
               transports[i]->name, address + length);
        return true;
    }
    return false;
}

const struct transport *transport_find(const char *address, bool to_listen,
                                       const char **rest)
{
    size_t i, length = strcspn(address, ":");

    for (i = 0; i < TRANSPORTS; i++) {
        if (strncmp(address, transports[i]->name, length) ||
            transports[i]->name[length] || address[length] != ':')
            continue;
        *rest = address + length + 1;
        if (!to_listen || transports[i]->listen)
            return transports[i];
    }
    if (is_misspelt(address, length))
        return NULL;
    if (!to_listen) {
        /* A host as xl migrate takes it. */
        *rest = address;
        return &transport_ssh;
    }
    report("%s is none of tls:HOST[:PORT], unix:PATH, tcp:HOST[:PORT]",
           address);
    return NULL;
}
