/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdarg.h>

#include "internal.h"

static void set_text(struct xensave_error *error, int errnum,
                     const char *format, va_list arguments)
{
    error->errnum = errnum ? errnum : EIO;
    vsnprintf(error->text, sizeof(error->text), format, arguments);
}

int xensave_fail(struct xensave_error *error, int errnum, const char *format,
                 ...)
{
    va_list arguments;

    if (error->text[0])
        return -1;
    va_start(arguments, format);
    set_text(error, errnum, format, arguments);
    va_end(arguments);
    return -1;
}

int xensave_fail_at(struct xensave_error *error, int errnum, uint64_t offset,
                    uint64_t record, const char *format, ...)
{
    va_list arguments;
    size_t used;

    if (error->text[0])
        return -1;
    va_start(arguments, format);
    set_text(error, errnum, format, arguments);
    va_end(arguments);
    error->has_offset = true;
    error->offset = offset;
    error->record = record;
    used = strlen(error->text);
    snprintf(error->text + used, sizeof(error->text) - used,
             " (offset %" PRIu64 ", record %" PRIu64 ")", offset, record);
    return -1;
}

const char *xensave_name_of(const struct xensave_name *names, size_t count,
                            int value)
{
    for (size_t i = 0; i < count; i++)
        if (names[i].value == value)
            return names[i].name;
    return NULL;
}

int xensave_value_of(const struct xensave_name *names, size_t count,
                     const char *name, int *value)
{
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(names[i].name, name)) {
            *value = names[i].value;
            return 0;
        }
    }
    errno = EINVAL;
    return -1;
}

int xensave_options_copy(void *to, size_t known, const void *from,
                         struct xensave_error *error)
{
    const uint8_t *bytes = from;
    size_t size = 0;

    memset(to, 0, known);
    if (!from)
        return 0;
    memcpy(&size, from, sizeof(size));
    if (size < sizeof(size))
        return xensave_fail(error, EINVAL, "the options have no size");
    for (size_t i = known; i < size; i++)
        if (bytes[i])
            return xensave_fail(error, E2BIG,
                                "the options have members that this version "
                                "does not know");
    memcpy(to, from, min_u64(size, known));
    return 0;
}
