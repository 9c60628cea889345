/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>

#include "stream.h"

void stream_report(const char *fmt, ...)
{
    char text[1024];
    va_list al;

    va_start(al, fmt);
    vsnprintf(text, sizeof(text), fmt, al);
    va_end(al);
    fprintf(stderr, "libxl-aligned: %s\n", text);
}
