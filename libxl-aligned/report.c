/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One line to whoever listens. */
#include <stdarg.h>
#include <stdio.h>

#include "internal.h"

void report(xentoollog_logger *lg, xentoollog_level level,
            const char *fmt, ...)
{
    char text[1024];
    va_list al;

    va_start(al, fmt);
    if (lg) {
        lg->vmessage(lg, level, -1, "libxl-aligned", fmt, al);
    } else {
        vsnprintf(text, sizeof(text), fmt, al);
        /* One write, so that lines of other processes do not mix in. */
        fprintf(stderr, "libxl-aligned: %s%s\n",
                level == XTL_WARN ? "warning: " : "", text);
    }
    va_end(al);
}
