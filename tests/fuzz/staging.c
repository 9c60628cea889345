/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The room for one batch is 4 MiB, and mapping and unmapping so much for each
 * of a few thousand octets is most of what an execution costs.  The decoder
 * and, where it compresses, the encoder get the same rooms each time, between
 * red zones as every variable.
 */
#include "fuzz.h"

#define STAGING ((size_t)V3_BATCH_MAX * V2_PAGE_SIZE)
#define ROOMS   9

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void __real_free(void *memory);
void __wrap_free(void *memory);

/* Only the thread that encodes or decodes asks for them. */
static struct room {
    uint8_t octets[STAGING];
} staging[ROOMS];
static bool in_use[ROOMS];

void *__wrap_malloc(size_t size)
{
    for (size_t i = 0; size == STAGING && i < ROOMS; i++) {
        if (in_use[i])
            continue;
        in_use[i] = true;
        return staging[i].octets;
    }
    return __real_malloc(size);
}

void __wrap_free(void *memory)
{
    for (size_t i = 0; i < ROOMS; i++) {
        if (memory != staging[i].octets)
            continue;
        FUZZ_ASSERT(in_use[i], NULL);
        in_use[i] = false;
        return;
    }
    __real_free(memory);
}
