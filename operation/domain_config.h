/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the configuration that xl stores in a save file says of the domain. */
#ifndef XENSAVE_DOMAIN_CONFIG_H
#define XENSAVE_DOMAIN_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#define CONFIG_TEXT_MAX 128

struct domain_config {
    bool parsed; /* as JSON; the rest is empty if not */
    char name[CONFIG_TEXT_MAX];
    char type[CONFIG_TEXT_MAX]; /* "pv", "pvh", "hvm" */
    char uuid[CONFIG_TEXT_MAX];
    long long memory_kib; /* -1: not stated */
    long long max_memory_kib;
    long long vcpus;
};

void config_parse(struct domain_config *config, const unsigned char *text,
                  size_t length);

#endif /* XENSAVE_DOMAIN_CONFIG_H */
