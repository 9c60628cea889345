/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The settings that a save will have.  The plugin reads the file with xl's own
 * parser; here it is enough to know the lines that it takes: key = "value".
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "doctor.h"
#include "stream-v3.h"

#define CONFIG_PATH "/etc/xen/xl-aligned.conf"

static const struct setting {
    const char *name;
    const char *variable;
    const char *values;         /* words, a space before and after each */
    const char *initial;
    size_t offset;              /* in struct doctor; 0: not needed here */
} settings[] = {
    { "format", "XL_ALIGNED_FORMAT", " auto v3 compat v2 ", "auto",
      offsetof(struct doctor, format) },
    { "io", "XL_ALIGNED_IO", " auto direct window buffered ", "auto",
      offsetof(struct doctor, io) },
    { "engine", "XL_ALIGNED_ENGINE", " auto uring thread ", "auto",
      offsetof(struct doctor, engine) },
    { "restore_io", "XL_ALIGNED_RESTORE_IO", " auto direct buffered ", "auto",
      0 },
    { "reserve", "XL_ALIGNED_RESERVE", " yes no 1 0 true false ", "yes", 0 },
    { "compress", "XL_ALIGNED_COMPRESS", " " COMPRESS_WORDS " ", "none",
      0 },
};
#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

static void set(struct doctor *doctor, const struct setting *setting,
                const char *where, const char *value)
{
    struct v3_compression compression;
    char word[64];
    bool holds;

    snprintf(word, sizeof(word), " %s ", value);
    holds = !strchr(value, ' ') && *value && strstr(setting->values, word);
    if (strcmp(setting->name, "compress") == 0)
        holds = v3_compression_parse(value, &compression) == 0;
    if (!holds) {
        doctor_find(doctor, FINDING_BAD, "config", "%s: %s is not one of%s"
                    "for %s; saves go stock's way", where, value,
                    setting->values, setting->name);
        return;
    }
    if (setting->offset)
        snprintf((char *)doctor + setting->offset, sizeof(doctor->format),
                 "%s", value);
    if (strcmp(value, setting->initial) != 0)
        doctor_find(doctor, FINDING_NOTE, "config", "%s: %s is %s", where,
                    setting->name, value);
}

/* key = "value"; 0 if it is one, 1 if there is nothing, -1 if it is broken. */
static int split(char *line, char **key, char **value)
{
    char *at = line + strspn(line, " \t\r\n"), *end;
    char quote;

    if (!*at || *at == '#')
        return 1;
    *key = at;
    at += strspn(at, "abcdefghijklmnopqrstuvwxyz_");
    end = at;
    at += strspn(at, " \t");
    if (end == *key || *at != '=')
        return -1;
    *end = 0;
    at++;
    at += strspn(at, " \t");
    quote = *at;
    if (isdigit((unsigned char)quote)) {
        *value = at;
        at += strspn(at, "0123456789");
        *at = 0;
        return 0;
    }
    if (quote != '"' && quote != '\'')
        return -1;
    *value = ++at;
    at = strchr(at, quote);
    if (!at)
        return -1;
    *at = 0;
    return 0;
}

static void take(struct doctor *doctor, const char *where, const char *key,
                 const char *value)
{
    size_t i;

    for (i = 0; i < SETTINGS; i++)
        if (strcmp(settings[i].name, key) == 0) {
            set(doctor, &settings[i], where, value);
            return;
        }
    doctor_find(doctor, FINDING_NOTE, "config",
                "%s: %s is not a setting and has no effect", where, key);
}

static void read_file(struct doctor *doctor, const char *path)
{
    FILE *file = fopen(path, "re");
    char *line = NULL, *key, *value, where[512];
    size_t size = 0;
    unsigned number = 0;
    int r;

    if (!file) {
        if (errno == ENOENT && !getenv("XL_ALIGNED_CONFIG"))
            doctor_find(doctor, FINDING_OK, "config",
                        "there is no %s: every setting as it is by itself",
                        path);
        else
            doctor_find(doctor, FINDING_BAD, "config",
                        "%s: %s; saves go stock's way", path,
                        strerror(errno));
        return;
    }
    while (getline(&line, &size, file) >= 0) {
        snprintf(where, sizeof(where), "%s:%u", path, ++number);
        r = split(line, &key, &value);
        if (r < 0)
            doctor_find(doctor, FINDING_BAD, "config", "%s: not of the form "
                        "key = \"value\"; saves go stock's way", where);
        else if (!r)
            take(doctor, where, key, value);
    }
    free(line);
    fclose(file);
    doctor_find(doctor, FINDING_OK, "config", "%s: read", path);
}

void doctor_config(struct doctor *doctor)
{
    const char *path = secure_getenv("XL_ALIGNED_CONFIG");
    const char *value;
    size_t i;

    for (i = 0; i < SETTINGS; i++)
        if (settings[i].offset)
            snprintf((char *)doctor + settings[i].offset,
                     sizeof(doctor->format), "%s", settings[i].initial);
    read_file(doctor, path && *path ? path : CONFIG_PATH);
    for (i = 0; i < SETTINGS; i++) {
        value = secure_getenv(settings[i].variable);
        if (value && *value)
            set(doctor, &settings[i], settings[i].variable, value);
    }
}
