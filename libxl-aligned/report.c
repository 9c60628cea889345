/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One line to whoever listens. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"
#include "report.h"

static void __attribute__((format(printf, 3, 4)))
pass(xentoollog_logger *lg, xentoollog_level level, const char *fmt, ...)
{
    va_list al;

    va_start(al, fmt);
    lg->vmessage(lg, level, -1, "libxl-aligned", fmt, al);
    va_end(al);
}

void report(xentoollog_logger *lg, xentoollog_level level, const char *fmt,
            ...)
{
    char *text;
    va_list al;

    va_start(al, fmt);
    text = text_message(fmt, al);
    va_end(al);
    if (lg)
        pass(lg, level, "%s", text ? text : "out of memory");
    else
        /* One write, so that lines of other processes do not mix in. */
        fprintf(stderr, "libxl-aligned: %s%s\n",
                level == XTL_WARN ? "warning: " : "",
                text ? text : "out of memory");
    free(text);
}
