/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The room for one batch is 4 MiB, and mapping and unmapping so much for each
 * of a few thousand bytes is most of what an execution costs.  Decoder,
 * index and, where it compresses, the encoder get the same rooms each time,
 * between poisoned pages.
 */
#include <sanitizer/asan_interface.h>

#include "fuzz.h"

#define STAGING ((size_t)XENSAVE_BATCH_MAX * XENSAVE_V2_PAGE_SIZE)
#define ROOMS   14

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void __real_free(void *memory);
void __wrap_free(void *memory);
int __real_posix_memalign(void **memory, size_t alignment, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);

/* Only the thread that encodes or decodes asks for them. */
static struct room {
    uint8_t bytes[STAGING];
    uint8_t more[XENSAVE_V2_PAGE_SIZE]; /* of those that ask for it */
    uint8_t red_zone[XENSAVE_V2_PAGE_SIZE];
} staging[ROOMS] __attribute__((aligned(XENSAVE_V2_PAGE_SIZE)));
static bool in_use[ROOMS];

static void *take(size_t size)
{
    for (size_t i = 0; i < ROOMS; i++) {
        struct room *room = &staging[i];

        if (in_use[i])
            continue;
        in_use[i] = true;
        ASAN_POISON_MEMORY_REGION(room->red_zone, sizeof(room->red_zone));
        ASAN_POISON_MEMORY_REGION(room->more, sizeof(room->more));
        if (size > STAGING)
            ASAN_UNPOISON_MEMORY_REGION(room->more, sizeof(room->more));
        return room->bytes;
    }
    return NULL;
}

static bool is_room(size_t size)
{
    return size == STAGING || size == STAGING + XENSAVE_V2_PAGE_SIZE;
}

void *__wrap_malloc(size_t size)
{
    void *memory = is_room(size) ? take(size) : NULL;

    return memory ? memory : __real_malloc(size);
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t size)
{
    void *room = is_room(size) ? take(size) : NULL;

    if (!room)
        return __real_posix_memalign(memory, alignment, size);
    *memory = room;
    return 0;
}

void __wrap_free(void *memory)
{
    for (size_t i = 0; i < ROOMS; i++) {
        if (memory != staging[i].bytes)
            continue;
        FUZZ_ASSERT(in_use[i], NULL);
        in_use[i] = false;
        return;
    }
    __real_free(memory);
}
