/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The decoder's room for one batch is 4 MiB, and mapping and unmapping so
 * much for each of a few thousand octets is most of what an execution costs.
 * It gets the same room each time, between red zones as every variable.
 */
#include "fuzz.h"

#define STAGING ((size_t)V3_BATCH_MAX * V2_PAGE_SIZE)

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void __real_free(void *memory);
void __wrap_free(void *memory);

static uint8_t staging[STAGING];
static bool in_use;

void *__wrap_malloc(size_t size)
{
    if (size != STAGING || in_use)
        return __real_malloc(size);
    in_use = true;
    return staging;
}

void __wrap_free(void *memory)
{
    if (memory != staging) {
        __real_free(memory);
        return;
    }
    FUZZ_ASSERT(in_use, NULL);
    in_use = false;
}
