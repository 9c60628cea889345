/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Page tables of PV domains: from one numbering of frames to the other. */
#include "core.h"
#include "stream-v3/internal.h"

#define ENTRIES       (XENSAVE_V2_PAGE_SIZE / sizeof(uint64_t))
#define ENTRY_PRESENT 1ULL
#define ENTRY_FRAME   0x000ffffffffff000ULL

void core_pagetable(uint64_t *copy, const void *page,
                    uint64_t (*translate)(void *context, uint64_t frame),
                    void *context)
{
    uint64_t frame;
    size_t i;

    memcpy(copy, page, XENSAVE_V2_PAGE_SIZE);
    for (i = 0; i < ENTRIES; i++) {
        if (!(copy[i] & ENTRY_PRESENT))
            continue;
        frame = translate(context, (copy[i] & ENTRY_FRAME) >> 12);
        if (frame == UINT64_MAX)
            copy[i] = 0;
        else
            copy[i] = (copy[i] & ~ENTRY_FRAME) | frame << 12;
    }
}
