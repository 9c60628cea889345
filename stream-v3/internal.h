/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What all of this library uses. */
#ifndef XENSAVE_INTERNAL_H
#define XENSAVE_INTERNAL_H

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/fd.h"
#include "xensave.h"

#if __BYTE_ORDER != __LITTLE_ENDIAN
#error "stream v3 structures are mapped onto little-endian memory"
#endif

#define PUBLIC        __attribute__((visibility("default")))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

static inline uint64_t round_down(uint64_t value, uint64_t to)
{
    return value / to * to;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- error.c ------------------------------------------------------------ */

/* Both keep the first error and return -1, for `return xensave_fail(…)`. */
int xensave_fail(struct xensave_error *error, int errnum, const char *format,
                 ...) __attribute__((format(printf, 3, 4)));
int xensave_fail_at(struct xensave_error *error, int errnum, uint64_t offset,
                    uint64_t record, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/*
 * Copies a caller's options, which begin with their size, into `to` of `known`
 * bytes.  NULL stands for the defaults.
 */
int xensave_options_copy(void *to, size_t known, const void *from,
                         struct xensave_error *error);

struct xensave_name {
    int value;
    const char *name;
};
/* NULL, or -1 with errno EINVAL, if there is no such entry. */
const char *xensave_name_of(const struct xensave_name *names, size_t count,
                            int value);
int xensave_value_of(const struct xensave_name *names, size_t count,
                     const char *name, int *value);

#endif /* XENSAVE_INTERNAL_H */
