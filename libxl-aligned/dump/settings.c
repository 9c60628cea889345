/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taken out of the environment like all that concerns this library. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dump.h"

struct dump_settings dump_settings;

static void take(const char *name, char **value)
{
    const char *found = secure_getenv(name);

    if (found && *found)
        *value = strdup(found);
    unsetenv(name);
}

static void __attribute__((constructor)) take_settings(void)
{
    take("XL_ALIGNED_DUMP_FORMAT", &dump_settings.format);
    take("XL_ALIGNED_DUMP_SPARSE", &dump_settings.sparse);
}

static int yes_or_no(const char *name, const char *value, bool *yes, char *why,
                     size_t size)
{
    if (!value)
        return 0;
    *yes = !strcmp(value, "yes");
    if (*yes || !strcmp(value, "no"))
        return 0;
    snprintf(why, size, "%s: \"%s\" is none of yes or no", name, value);
    return -1;
}

int dump_options(struct core_options *options, char *why, size_t size)
{
    bool sparse = true;

    memset(options, 0, sizeof(*options));
    if (dump_settings.format &&
        core_format_parse(dump_settings.format, &options->format)) {
        snprintf(why, size,
                 "XL_ALIGNED_DUMP_FORMAT: \"%s\" is none of xen "
                 "or elf",
                 dump_settings.format);
        return -1;
    }
    if (yes_or_no("XL_ALIGNED_DUMP_SPARSE", dump_settings.sparse, &sparse, why,
                  size))
        return -1;
    options->no_sparse = !sparse;
    return 0;
}
