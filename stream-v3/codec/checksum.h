/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spec 3: XXH3, 64 bits, through the CPU's widest vectors. */
#ifndef XENSAVE_CHECKSUM_H
#define XENSAVE_CHECKSUM_H

#include <stdint.h>
#include <xxh_x86dispatch.h>

struct xensave_checksum {
    XXH3_state_t *state;
};

/* -1 if there is no memory. */
static inline int xensave_checksum_init(struct xensave_checksum *checksum)
{
    checksum->state = XXH3_createState();
    return checksum->state ? 0 : -1;
}

static inline void xensave_checksum_free(struct xensave_checksum *checksum)
{
    XXH3_freeState(checksum->state);
    checksum->state = NULL;
}

static inline void xensave_checksum_reset(struct xensave_checksum *checksum)
{
    XXH3_64bits_reset(checksum->state);
}

static inline void xensave_checksum_add(struct xensave_checksum *checksum,
                                        const void *data, size_t length)
{
    XXH3_64bits_update(checksum->state, data, length);
}

static inline uint64_t xensave_checksum_get(
    const struct xensave_checksum *checksum)
{
    return XXH3_64bits_digest(checksum->state);
}

#endif /* XENSAVE_CHECKSUM_H */
