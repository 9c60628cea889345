/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The words that configuration, options and output use. */
#include "internal.h"

static const struct v3_name format_names[] = {
    {V3_FORMAT_V2, "v2"},
    {V3_FORMAT_COMPAT, "compat"},
    {V3_FORMAT_V3, "v3"},
};

static const struct v3_name io_names[] = {
    {V3_IO_AUTO, "auto"},
    {V3_IO_DIRECT, "direct"},
    {V3_IO_WINDOW, "window"},
    {V3_IO_BUFFERED, "buffered"},
};

static const struct v3_name engine_names[] = {
    {V3_ENGINE_AUTO, "auto"},
    {V3_ENGINE_URING, "uring"},
    {V3_ENGINE_THREAD, "thread"},
};

PUBLIC const char *v3_format_name(enum v3_format format)
{
    return v3_name_of(format_names, ARRAY_SIZE(format_names), format);
}

PUBLIC int v3_format_parse(const char *name, enum v3_format *format)
{
    int value, r;

    r = v3_value_of(format_names, ARRAY_SIZE(format_names), name, &value);
    if (!r)
        *format = value;
    return r;
}

PUBLIC const char *v3_io_name(enum v3_io io)
{
    return v3_name_of(io_names, ARRAY_SIZE(io_names), io);
}

PUBLIC int v3_io_parse(const char *name, enum v3_io *io)
{
    int value, r;

    r = v3_value_of(io_names, ARRAY_SIZE(io_names), name, &value);
    if (!r)
        *io = value;
    return r;
}

PUBLIC const char *v3_engine_name(enum v3_engine engine)
{
    return v3_name_of(engine_names, ARRAY_SIZE(engine_names), engine);
}

PUBLIC int v3_engine_parse(const char *name, enum v3_engine *engine)
{
    int value, r;

    r = v3_value_of(engine_names, ARRAY_SIZE(engine_names), name, &value);
    if (!r)
        *engine = value;
    return r;
}
