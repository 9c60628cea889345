/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any bytes as the configuration that a save file carries. */
#include <string.h>

#include "fuzz.h"

#include "operation/domain_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct domain_config config;

    memset(&config, 0xff, sizeof(config));
    config_parse(&config, data, size);
    FUZZ_ASSERT(memchr(config.name, 0, sizeof(config.name)), NULL);
    FUZZ_ASSERT(memchr(config.type, 0, sizeof(config.type)), NULL);
    FUZZ_ASSERT(memchr(config.uuid, 0, sizeof(config.uuid)), NULL);
    FUZZ_ASSERT(config.memory_kib >= -1, NULL);
    FUZZ_ASSERT(config.max_memory_kib >= -1, NULL);
    FUZZ_ASSERT(config.vcpus >= -1, NULL);
    if (!config.parsed)
        FUZZ_ASSERT(!config.name[0] && config.vcpus == -1, NULL);
    return 0;
}
