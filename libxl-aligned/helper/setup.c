/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs when the library is loaded: acts only in the save helper of a stream
 * that the toolstack side asked for.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"
#include "stream.h"

#define VARIABLE "XL_ALIGNED_STREAM"
#define OWN_NAME "libxl-aligned-stream.so"

/* ---- XL_ALIGNED_STREAM -------------------------------------------------- */

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
    char copy[512], *next, *pair;

    memset(plan, 0, sizeof(*plan));
    plan->io.size = sizeof(plan->io);
    plan->fd = -1;
    if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy)) {
        snprintf(why, size, VARIABLE " is too long");
        return -1;
    }
    for (pair = strtok_r(copy, ";", &next); pair;
         pair = strtok_r(NULL, ";", &next)) {
        if (set_pair(plan, pair)) {
            snprintf(why, size,
                     "%s in " VARIABLE " is not understood: "
                     "are both libraries of one version?",
                     pair);
            return -1;
        }
    }
    return 0;
}

/* ---- the helper's arguments --------------------------------------------- */

static const struct mode {
    const char *name;
    bool restore;
    int argc;
} modes[] = {
    { "--save-domain", false, 8 },
    { "--restore-domain", true, 11 },
};

static const struct mode *helper_mode(int argc, char *argv[])
{
    size_t i;

    for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (argc == modes[i].argc && !strcmp(argv[1], modes[i].name))
            return &modes[i];
    }
    return NULL;
}

/* The entry that made the dynamic linker load this library. */
static void leave_preload(void)
{
    char *preload = getenv("LD_PRELOAD"), *end;
    size_t length;

    if (!preload)
        return;
    length = strcspn(preload, " :");
    end = preload + length;
    if (!memmem(preload, length, OWN_NAME, strlen(OWN_NAME)))
        return;
    if (*end)
        setenv("LD_PRELOAD", end + 1, 1);
    else
        unsetenv("LD_PRELOAD");
}

static void tune_malloc(void)
{
    /*
     * libxenguest allocates and frees each record of 4 MiB: keep it on the
     * heap, where it does not cost a fresh mapping and its page faults.
     */
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 128 << 20);
}

/* The toolstack side asks whether this library is loaded: no helper runs. */
static void answer_probe(int argc, char *argv[], const char *text)
{
    if (argc == 2 && !strcmp(argv[1], PROBE_MODE) &&
        !strcmp(text, PROBE_STREAM))
        _exit(write(STDOUT_FILENO, "1", 1) != 1);
}

static void __attribute__((constructor))
setup(int argc, char *argv[], char *envp[])
{
    const char *text = secure_getenv(VARIABLE);
    const struct mode *mode = text ? helper_mode(argc, argv) : NULL;
    struct stream_plan plan;
    char why[512];
    int r;

    (void)envp;
    if (text)
        answer_probe(argc, argv, text);
    /* A wrapper that runs the helper, say: it is to have the environment. */
    if (!mode)
        return;
    r = stream_plan_parse(&plan, text, why, sizeof(why));
    unsetenv(VARIABLE);
    leave_preload();

    /* Remus and COLO share the fd between helper and libxl. */
    if (strcmp(argv[argc - 1], "0"))
        return;
    if (!r && (plan.restore != mode->restore || plan.fd != atoi(argv[2]))) {
        snprintf(why, sizeof(why), VARIABLE " speaks of another stream");
        r = -1;
    }
    if (r) {
        stream_report("warning: %s; using the stock stream", why);
        return;
    }
    tune_malloc();
    stream_activate(&plan);
}
