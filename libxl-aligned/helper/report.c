/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"
#include "stream.h"

void stream_report(const char *fmt, ...)
{
    char *text;
    va_list al;

    va_start(al, fmt);
    text = text_message(fmt, al);
    va_end(al);
    fprintf(stderr, "libxl-aligned: %s\n", text ? text : "out of memory");
    free(text);
}
