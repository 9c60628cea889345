/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmds.h"
#include "json.h"

static void print(void *context, const char *text, size_t length)
{
    (void)context;
    fwrite(text, 1, length, stdout);
}

yajl_gen json_begin_line(void)
{
    yajl_gen gen = yajl_gen_alloc(NULL);

    if (!gen)
        return NULL;
    yajl_gen_config(gen, yajl_gen_validate_utf8, 1);
    yajl_gen_config(gen, yajl_gen_print_callback, print, NULL);
    return gen;
}

yajl_gen json_begin(void)
{
    yajl_gen gen = json_begin_line();

    if (!gen)
        return NULL;
    yajl_gen_config(gen, yajl_gen_beautify, 1);
    yajl_gen_config(gen, yajl_gen_indent_string, "  ");
    return gen;
}

int json_end(yajl_gen gen)
{
    yajl_gen_free(gen);
    return fflush(stdout) || ferror(stdout) ? -1 : 0;
}

void json_key(yajl_gen gen, const char *key)
{
    yajl_gen_string(gen, (const unsigned char *)key, strlen(key));
}

void json_text(yajl_gen gen, const char *key, const char *value)
{
    char *text;

    if (!value) {
        json_null(gen, key);
        return;
    }
    text = printable(value);
    json_key(gen, key);
    yajl_gen_string(gen, (const unsigned char *)text, strlen(text));
    free(text);
}

void json_optional_text(yajl_gen gen, const char *key, const char *value)
{
    json_text(gen, key, value[0] ? value : NULL);
}

/* yajl's integers are signed; offsets from a damaged file may not fit. */
void json_number(yajl_gen gen, const char *key, uint64_t value)
{
    char text[32];
    int length = snprintf(text, sizeof(text), "%" PRIu64, value);

    json_key(gen, key);
    yajl_gen_number(gen, text, length);
}

void json_real(yajl_gen gen, const char *key, double value)
{
    char text[64];
    int length = snprintf(text, sizeof(text), "%.4f", value);

    if (value < 0) {
        json_null(gen, key);
        return;
    }
    json_key(gen, key);
    yajl_gen_number(gen, text, length);
}

void json_truth(yajl_gen gen, const char *key, bool value)
{
    json_key(gen, key);
    yajl_gen_bool(gen, value);
}

void json_null(yajl_gen gen, const char *key)
{
    json_key(gen, key);
    yajl_gen_null(gen);
}

void json_open_map(yajl_gen gen, const char *key)
{
    json_key(gen, key);
    yajl_gen_map_open(gen);
}

void json_open_array(yajl_gen gen, const char *key)
{
    json_key(gen, key);
    yajl_gen_array_open(gen);
}
