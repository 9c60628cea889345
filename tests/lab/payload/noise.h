/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages of noise that can be made again from (seed, page, generation), so
 * that a guest can tell which of its pages came back wrong.  Freestanding:
 * shared by the Linux guests and by the HVM boot payload.
 */
#ifndef LAB_NOISE_H
#define LAB_NOISE_H

#include <stdint.h>

#define NOISE_WORDS 512 /* of 8 bytes: one page */

/* One step of splitmix64 (Steele, Lea, Flood 2014; public domain). */
static inline uint64_t noise_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

static inline uint64_t noise_start(uint64_t seed, uint64_t page,
                                   uint64_t generation)
{
    uint64_t state = seed * 0xd1342543de82ef95ULL + generation;

    state = noise_next(&state) + page;
    return noise_next(&state);
}

static inline void noise_fill(uint64_t *page, uint64_t state)
{
    for (unsigned int i = 0; i < NOISE_WORDS; i++)
        page[i] = noise_next(&state);
}

/* Folds the page into *hash; true if it holds what noise_fill() wrote. */
static inline int noise_check(const uint64_t *page, uint64_t state,
                              uint64_t *hash)
{
    uint64_t wrong = 0, h = *hash;

    for (unsigned int i = 0; i < NOISE_WORDS; i++) {
        wrong |= page[i] ^ noise_next(&state);
        h = ((h << 5 | h >> 59) ^ page[i]) * 0x9fb21c651e98df25ULL;
    }
    *hash = h;
    return wrong == 0;
}

#endif
