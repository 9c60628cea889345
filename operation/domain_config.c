/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parsed as a stream of tokens and not into a tree: the text may be hostile,
 * and nothing here grows with the depth of its nesting.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <yajl/yajl_parse.h>

#include "domain_config.h"

struct parser {
    struct domain_config *config;
    unsigned depth;   /* of open maps and arrays */
    char section[32]; /* key at depth 1 */
    char key[32];     /* key at depth 2 */
};

static const struct field {
    const char *section, *key;
    bool is_number;
    size_t offset;
} fields[] = {
    { "c_info", "name", false, offsetof(struct domain_config, name) },
    { "c_info", "type", false, offsetof(struct domain_config, type) },
    { "c_info", "uuid", false, offsetof(struct domain_config, uuid) },
    { "b_info", "target_memkb", true,
      offsetof(struct domain_config, memory_kib) },
    { "b_info", "max_memkb", true,
      offsetof(struct domain_config, max_memory_kib) },
    { "b_info", "max_vcpus", true, offsetof(struct domain_config, vcpus) },
};

#define FIELDS (sizeof(fields) / sizeof(fields[0]))

static void *find_field(const struct parser *parser, bool is_number)
{
    size_t i;

    for (i = 0; parser->depth == 2 && i < FIELDS; i++)
        if (fields[i].is_number == is_number &&
            strcmp(parser->section, fields[i].section) == 0 &&
            strcmp(parser->key, fields[i].key) == 0)
            return (char *)parser->config + fields[i].offset;
    return NULL;
}

static void copy_text(char *to, size_t size, const unsigned char *text,
                      size_t length)
{
    size_t n = length < size ? length : size - 1;

    memcpy(to, text, n);
    to[n] = 0;
}

static int on_integer(void *context, long long value)
{
    long long *to = find_field(context, true);

    if (to && value >= 0)
        *to = value;
    return 1;
}

static int on_string(void *context, const unsigned char *text, size_t length)
{
    char *to = find_field(context, false);

    if (to)
        copy_text(to, CONFIG_TEXT_MAX, text, length);
    return 1;
}

static int on_key(void *context, const unsigned char *text, size_t length)
{
    struct parser *parser = context;

    if (parser->depth == 1)
        copy_text(parser->section, sizeof(parser->section), text, length);
    if (parser->depth == 2)
        copy_text(parser->key, sizeof(parser->key), text, length);
    return 1;
}

static int on_open(void *context)
{
    struct parser *parser = context;

    parser->depth++;
    return 1;
}

static int on_open_array(void *context)
{
    struct parser *parser = context;

    /* Elements have no key: forget the last one. */
    if (parser->depth < 2)
        parser->section[0] = 0;
    parser->depth++;
    return 1;
}

static int on_close(void *context)
{
    struct parser *parser = context;

    parser->depth--;
    return 1;
}

void config_parse(struct domain_config *config, const unsigned char *text,
                  size_t length)
{
    static const yajl_callbacks callbacks = {
        .yajl_integer = on_integer,
        .yajl_string = on_string,
        .yajl_map_key = on_key,
        .yajl_start_map = on_open,
        .yajl_end_map = on_close,
        .yajl_start_array = on_open_array,
        .yajl_end_array = on_close,
    };
    const struct domain_config empty = { .memory_kib = -1,
                                         .max_memory_kib = -1,
                                         .vcpus = -1 };
    struct parser parser = { .config = config };
    yajl_handle handle;

    *config = empty;
    handle = yajl_alloc(&callbacks, NULL, &parser);
    if (!handle)
        return;
    config->parsed = yajl_parse(handle, text, length) == yajl_status_ok &&
                     yajl_complete_parse(handle) == yajl_status_ok;
    if (!config->parsed)
        *config = empty;
    yajl_free(handle);
}
