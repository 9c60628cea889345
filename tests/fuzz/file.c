/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Save files in memory. */
#include <endian.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

int fuzz_file(const uint8_t *data, size_t size)
{
    static int fd = -1;

    if (fd < 0)
        fd = memfd_create("fuzz", MFD_CLOEXEC);
    FUZZ_ASSERT(fd >= 0, NULL);
    FUZZ_ASSERT(!ftruncate(fd, size), NULL);
    FUZZ_ASSERT(pwrite(fd, data, size, 0) == (ssize_t)size, NULL);
    FUZZ_ASSERT(lseek(fd, 0, SEEK_SET) == 0, NULL);
    return fd;
}

bool fuzz_find_stream(const uint8_t *data, size_t size, size_t *start)
{
    struct xensave_v2_libxl_header libxl;
    struct xensave_v2_xl_header xl;
    size_t at;

    if (size < sizeof(xl))
        return false;
    memcpy(&xl, data, sizeof(xl));
    at = sizeof(xl) + (size_t)xl.optional_data_len;
    if (at > size || size - at < sizeof(libxl) + 8)
        return false;
    memcpy(&libxl, data + at, sizeof(libxl));
    if (be64toh(libxl.ident) != XENSAVE_V2_LIBXL_IDENT)
        return false;
    *start = at + sizeof(libxl) + sizeof(struct xensave_v2_record_header);
    return true;
}

/* Bytes put into or taken out of the configuration. */
static size_t change_head(uint8_t *data, size_t size, size_t max,
                          size_t control, struct fuzz_random *random)
{
    const size_t at = control +
                      offsetof(struct xensave_v2_xl_header, optional_data_len);
    size_t where = control + sizeof(struct xensave_v2_xl_header);
    uint32_t length, by = 1 + fuzz_below(random, 9);

    memcpy(&length, data + at, sizeof(length));
    where += length;
    if (fuzz_below(random, 2) && max - size >= by) {
        memmove(data + where + by, data + where, size - where);
        memset(data + where, 0, by);
        size += by;
        length += by;
    } else if (length >= by) {
        memmove(data + where - by, data + where, size - where);
        size -= by;
        length -= by;
    }
    memcpy(data + at, &length, sizeof(length));
    return size;
}

size_t fuzz_mutate_file(uint8_t *data, size_t size, size_t max, size_t control,
                        struct fuzz_random *random)
{
    size_t start;

    if (size < control || !fuzz_below(random, 8) ||
        !fuzz_find_stream(data + control, size - control, &start))
        return LLVMFuzzerMutate(data, size, max);
    if (fuzz_below(random, 6))
        size = fuzz_mutate(data, size, max, control + start, random);
    else
        size = change_head(data, size, max, control, random);
    if (fuzz_below(random, 8) && size >= control &&
        fuzz_find_stream(data + control, size - control, &start))
        fuzz_seal(&(struct fuzz_seal){ .data = data + control,
                                       .size = size - control,
                                       .start = start,
                                       .offset = start,
                                       .totals = fuzz_below(random, 4),
                                       .file = true });
    return size;
}
