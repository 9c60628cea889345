/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream_plan.h"

/* ---- the plan as text --------------------------------------------------- */

int stream_plan_format(const struct stream_plan *plan, char *text, size_t size)
{
    const struct xensave_compression *compression = &plan->compression;
    char compress[64] = "";
    int r;

    if (plan->format == XENSAVE_FORMAT_V3 && compression->codec)
        snprintf(compress, sizeof(compress), ";compress=%s:%d%s",
                 xensave_codec_name(compression->codec), compression->level,
                 compression->all ? ":all" : "");
    r = snprintf(text, size,
                 "fd=%d;mode=%s;format=%s;io=%s;engine=%s;reserve=%llu;"
                 "head_padding=%u%s%s%s",
                 plan->fd, plan->restore ? "restore" : "save",
                 xensave_format_name(plan->format),
                 xensave_io_name(plan->io.io),
                 xensave_engine_name(plan->io.engine),
                 (unsigned long long)plan->io.reserve, plan->head_padding,
                 compress, plan->progress[0] ? ";progress=" : "",
                 plan->progress);
    return r < 0 || (size_t)r >= size ? -1 : 0;
}

static int parse_number(const char *value, uint64_t max, uint64_t *number)
{
    char *end;

    if (*value < '0' || *value > '9')
        return -1;
    *number = strtoull(value, &end, 10);
    return *end || *number > max ? -1 : 0;
}

static int set_fd(struct stream_plan *plan, const char *value)
{
    uint64_t number;

    if (parse_number(value, INT32_MAX, &number))
        return -1;
    plan->fd = number;
    return 0;
}

static int set_mode(struct stream_plan *plan, const char *value)
{
    plan->restore = !strcmp(value, "restore");
    return plan->restore || !strcmp(value, "save") ? 0 : -1;
}

static int set_format(struct stream_plan *plan, const char *value)
{
    return xensave_format_parse(value, &plan->format);
}

static int set_io(struct stream_plan *plan, const char *value)
{
    return xensave_io_parse(value, &plan->io.io);
}

static int set_engine(struct stream_plan *plan, const char *value)
{
    return xensave_engine_parse(value, &plan->io.engine);
}

static int set_reserve(struct stream_plan *plan, const char *value)
{
    return parse_number(value, INT64_MAX, &plan->io.reserve);
}

static int set_head_padding(struct stream_plan *plan, const char *value)
{
    uint64_t number;

    if (parse_number(value, 7, &number))
        return -1;
    plan->head_padding = number;
    return 0;
}

static int set_compress(struct stream_plan *plan, const char *value)
{
    return xensave_compression_parse(value, &plan->compression);
}

static int set_progress(struct stream_plan *plan, const char *value)
{
    int r = snprintf(plan->progress, sizeof(plan->progress), "%s", value);

    return r < (int)sizeof(plan->progress) ? 0 : -1;
}

static const struct key {
    const char *name;
    int (*set)(struct stream_plan *plan, const char *value);
} keys[] = {
    { "fd", set_fd },
    { "mode", set_mode },
    { "format", set_format },
    { "io", set_io },
    { "engine", set_engine },
    { "reserve", set_reserve },
    { "head_padding", set_head_padding },
    { "progress", set_progress },
    { "compress", set_compress },
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

static int set_pair(struct stream_plan *plan, char *pair)
{
    char *value = strchr(pair, '=');
    size_t i;

    if (!value)
        return -1;
    *value++ = '\0';
    for (i = 0; i < KEYS; i++) {
        if (!strcmp(pair, keys[i].name))
            return keys[i].set(plan, value);
    }
    return -1;
}

int stream_plan_parse(struct stream_plan *plan, const char *text, char *why,
                      size_t size)
{
    char copy[STREAM_PLAN_MAX], *next, *pair;

    memset(plan, 0, sizeof(*plan));
    plan->io.size = sizeof(plan->io);
    plan->fd = -1;
    if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy)) {
        snprintf(why, size, STREAM_VARIABLE " is too long");
        return -1;
    }
    for (pair = strtok_r(copy, ";", &next); pair;
         pair = strtok_r(NULL, ";", &next)) {
        if (set_pair(plan, pair)) {
            snprintf(why, size,
                     "%s in " STREAM_VARIABLE " is unknown: "
                     "do both libraries have the same version?",
                     pair);
            return -1;
        }
    }
    return 0;
}

/* ---- the helper's arguments --------------------------------------------- */

const struct helper_mode *helper_mode(int argc, char *const argv[])
{
    static const struct helper_mode modes[] = {
        { "--save-domain", false, 8 },
        { "--restore-domain", true, 11 },
    };
    size_t i;

    for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (argc == modes[i].argc && !strcmp(argv[HELPER_MODE], modes[i].name))
            return &modes[i];
    return NULL;
}

bool helper_is_plain(int argc, char *const argv[])
{
    return !strcmp(argv[argc - 1], "0");
}
