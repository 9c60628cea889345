/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mutator of the targets whose input is a save file. */
#include "fuzz.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
                               unsigned seed)
{
    struct fuzz_random random = fuzz_random(seed);

    return fuzz_mutate_file(data, size, max, sizeof(struct fuzz_control),
                            &random);
}
