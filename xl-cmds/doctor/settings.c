/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The settings of a save, read by the plugin's own code. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "operation/settings.h"
#include "doctor.h"

/* The parser is libxlutil's; without xl's own, any version will do. */
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

/* Xen's parser accepts any name; a misspelt one has no effect. */
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
            !setting_find(at, length))
            doctor_find(doctor, FINDING_NOTE, "config",
                        "%s: %.*s is not a "
                        "setting and has no effect",
                        path, (int)length, at);
    }
    free(line);
    if (file)
        fclose(file);
}

void doctor_settings(struct doctor *doctor)
{
    const struct setting *setting;
    struct environment env;
    struct settings settings;
    const char *path, *word;
    char why[512];

    environment_read(&env, false);
    path = env.config ? env.config : SETTINGS_PATH;
    if (settings_read(&settings, &env, parser_minor(doctor->minor), why,
                      sizeof(why))) {
        settings_default(&settings);
        doctor_find(doctor, FINDING_BAD, "config",
                    "%s; saves fall back to plain xl", why);
    } else if (!env.config && access(path, F_OK)) {
        doctor_find(doctor, FINDING_OK, "config",
                    "%s does not exist: all settings have their defaults",
                    path);
    } else {
        find_unknown(doctor, path);
        doctor_find(doctor, FINDING_OK, "config", "%s: read", path);
    }
    for (setting = settings_table; setting < settings_table + SETTINGS;
         setting++) {
        word = setting->word(&settings);
        if (strcmp(word, setting->standard))
            doctor_find(doctor, FINDING_NOTE, "config", "%s is %s",
                        setting->name, word);
    }
    snprintf(doctor->format, sizeof(doctor->format), "%s",
             settings_table[SETTING_FORMAT].word(&settings));
    snprintf(doctor->io, sizeof(doctor->io), "%s",
             settings_table[SETTING_IO].word(&settings));
    snprintf(doctor->engine, sizeof(doctor->engine), "%s",
             settings_table[SETTING_ENGINE].word(&settings));
}
