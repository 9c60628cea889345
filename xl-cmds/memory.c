/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmds.h"
#include "common/text.h"

static void out_of_memory(void)
{
    fputs("xl-aligned: out of memory\n", stderr);
    exit(STATUS_FAILED);
}

void *xrealloc(void *pointer, size_t length)
{
    void *new = realloc(pointer, length ? length : 1);

    if (!new)
        out_of_memory();
    return new;
}

char *xstrdup(const char *string)
{
    char *copy = strdup(string);

    if (!copy)
        out_of_memory();
    return copy;
}

char *printable(const char *name)
{
    char *text = text_name(name, strlen(name));

    if (!text)
        out_of_memory();
    return text;
}

char *xasprintf(const char *format, ...)
{
    va_list ap;
    char *text;
    int r;

    va_start(ap, format);
    r = vasprintf(&text, format, ap);
    va_end(ap);
    if (r < 0)
        out_of_memory();
    return text;
}
