/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The words that configuration, options and output use. */
#include "internal.h"

static const struct xensave_name format_names[] = {
    { XENSAVE_FORMAT_V2, "v2" },
    { XENSAVE_FORMAT_COMPAT, "compat" },
    { XENSAVE_FORMAT_V3, "v3" },
};

static const struct xensave_name io_names[] = {
    { XENSAVE_IO_AUTO, "auto" },
    { XENSAVE_IO_DIRECT, "direct" },
    { XENSAVE_IO_WINDOW, "window" },
    { XENSAVE_IO_BUFFERED, "buffered" },
};

static const struct xensave_name engine_names[] = {
    { XENSAVE_ENGINE_AUTO, "auto" },
    { XENSAVE_ENGINE_URING, "uring" },
    { XENSAVE_ENGINE_THREAD, "thread" },
};

PUBLIC const char *xensave_format_name(enum xensave_format format)
{
    return xensave_name_of(format_names, ARRAY_SIZE(format_names), format);
}

PUBLIC int xensave_format_parse(const char *name, enum xensave_format *format)
{
    int value, r;

    r = xensave_value_of(format_names, ARRAY_SIZE(format_names), name, &value);
    if (!r)
        *format = value;
    return r;
}

PUBLIC const char *xensave_io_name(enum xensave_io io)
{
    return xensave_name_of(io_names, ARRAY_SIZE(io_names), io);
}

PUBLIC int xensave_io_parse(const char *name, enum xensave_io *io)
{
    int value, r;

    r = xensave_value_of(io_names, ARRAY_SIZE(io_names), name, &value);
    if (!r)
        *io = value;
    return r;
}

PUBLIC const char *xensave_engine_name(enum xensave_engine engine)
{
    return xensave_name_of(engine_names, ARRAY_SIZE(engine_names), engine);
}

PUBLIC int xensave_engine_parse(const char *name, enum xensave_engine *engine)
{
    int value, r;

    r = xensave_value_of(engine_names, ARRAY_SIZE(engine_names), name, &value);
    if (!r)
        *engine = value;
    return r;
}
