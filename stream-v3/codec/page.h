/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef XENSAVE_PAGE_H
#define XENSAVE_PAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "xensave-format.h"

/*
 * Most pages that are not zero show it in their first words; memcmp of the
 * page with itself, shifted, uses libc's widest vectors for the rest.
 */
static inline bool xensave_page_is_zero(const void *page)
{
    uint64_t first[2];

    memcpy(first, page, sizeof(first));
    return !(first[0] | first[1]) &&
           !memcmp(page, (const char *)page + sizeof(first),
                   XENSAVE_V2_PAGE_SIZE - sizeof(first));
}

#endif /* XENSAVE_PAGE_H */
