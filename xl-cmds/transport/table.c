/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "transport.h"

static const struct transport *const transports[] = {
    &transport_ssh, &transport_tls, &transport_unix, &transport_tcp,
};

#define TRANSPORTS (sizeof(transports) / sizeof(transports[0]))

const struct transport *transport_find(const char *address, bool to_listen,
                                       const char **rest)
{
    size_t i, length = strcspn(address, ":");

    for (i = 0; i < TRANSPORTS; i++) {
        if (strncmp(address, transports[i]->name, length) ||
            transports[i]->name[length] || address[length] != ':')
            continue;
        *rest = address + length + 1;
        return to_listen && !transports[i]->listen ? NULL : transports[i];
    }
    /* A host as xl migrate takes it. */
    *rest = address;
    return to_listen ? NULL : &transport_ssh;
}
