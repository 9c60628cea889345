/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The settings that a save will have, read by the plugin's own code. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxl-aligned/config.h"
#include "doctor.h"

#define WORDS 6

/* Each setting as a word, in the order of `names`. */
static const char *const names[WORDS] = {
    "format", "io", "engine", "restore_io", "reserve", "compress",
};

static void words_of(const xl_aligned_options *opts, const char *words[WORDS])
{
    words[0] = opts->format == XL_ALIGNED_FORMAT_AUTO
                   ? "auto"
                   : xensave_format_name(opts->format);
    words[1] = xensave_io_name(opts->io);
    words[2] = xensave_engine_name(opts->engine);
    words[3] = xensave_io_name(opts->restore_io);
    words[4] = opts->reserve ? "yes" : "no";
    words[5] = xensave_codec_name(opts->compression.codec);
}

/* The parser is libxlutil's; without xl's own, that of any Xen will do. */
static int parser_minor(int minor)
{
    char name[64];

    for (int any = 99; minor < 0 && any >= XEN_MINOR_LEAST; any--) {
        snprintf(name, sizeof(name), "libxlutil.so.4.%d", any);
        if (dlopen(name, RTLD_NOW | RTLD_LOCAL))
            minor = any;
    }
    return minor;
}

/* Xen's parser takes every name; one that is misspelt has no effect. */
static void find_unknown(struct doctor *doctor, const char *path)
{
    char *line = NULL, *at;
    size_t size = 0, length;
    FILE *file = NULL;
    struct stat st;

    if (!stat(path, &st) && S_ISREG(st.st_mode))
        file = fopen(path, "re");
    while (file && getline(&line, &size, file) >= 0) {
        at = line + strspn(line, " \t");
        length = strspn(at, "abcdefghijklmnopqrstuvwxyz"
                            "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
        if (length && at[length + strspn(at + length, " \t")] == '=' &&
            !options_know(at, length))
            doctor_find(doctor, FINDING_NOTE, "config",
                        "%s: %.*s is not a "
                        "setting and has no effect",
                        path, (int)length, at);
    }
    free(line);
    if (file)
        fclose(file);
}

/* As the plugin takes it: an empty one is none. */
static char *variable(const char *name)
{
    char *value = secure_getenv(name);

    return value && *value ? value : NULL;
}

void doctor_config(struct doctor *doctor)
{
    struct environment env = { .config = variable("XL_ALIGNED_CONFIG") };
    const char *path = env.config ? env.config : CONFIG_PATH;
    const char *before[WORDS], *words[WORDS];
    xl_aligned_options opts;
    char why[512];
    int broken, i;

    environment_settings(&env, variable);
    options_default(&opts);
    words_of(&opts, before);
    broken = options_read(&opts, &env, parser_minor(doctor->minor), why,
                          sizeof(why));
    if (broken) {
        options_default(&opts);
        doctor_find(doctor, FINDING_BAD, "config", "%s; saves go stock's way",
                    why);
    } else if (!env.config && access(path, F_OK)) {
        doctor_find(doctor, FINDING_OK, "config",
                    "there is no %s: every "
                    "setting as it is by itself",
                    path);
    } else {
        find_unknown(doctor, path);
        doctor_find(doctor, FINDING_OK, "config", "%s: read", path);
    }
    words_of(&opts, words);
    for (i = 0; i < WORDS; i++)
        if (words[i] != before[i])
            doctor_find(doctor, FINDING_NOTE, "config", "%s is %s", names[i],
                        words[i]);
    snprintf(doctor->format, sizeof(doctor->format), "%s", words[0]);
    snprintf(doctor->io, sizeof(doctor->io), "%s", words[1]);
    snprintf(doctor->engine, sizeof(doctor->engine), "%s", words[2]);
}
