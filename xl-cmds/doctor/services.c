/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checks whether saves by services (at dom0 shutdown, or by libvirt) use the
 * plugin: /etc/default/xl-aligned applies to services that start, and the
 * memory maps of running ones show what they have loaded.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "doctor.h"

#define SERVICES_PATH "/etc/default/xl-aligned"
#define PLUGIN_NAME   "libxl-aligned.so"

/* Long-running; xendomains is started each time. */
static const char *const daemons[] = { "libvirtd", "virtxend" };

/* NAME=value or NAME="value", as systemd.exec(5) and sh(1) both take it. */
static char *value_of(char *line, const char *name)
{
    char *at = line + strspn(line, " \t");
    size_t length = strlen(name);
    char quote;

    if (strncmp(at, name, length) != 0 || at[length] != '=')
        return NULL;
    at += length + 1;
    quote = *at;
    if (quote == '"' || quote == '\'') {
        at++;
        at[strcspn(at, (char[]){ quote, '\n', 0 })] = 0;
    } else {
        at[strcspn(at, " \t\r\n")] = 0;
    }
    return at;
}

/* The library that services preload, or NULL.  To be freed. */
static char *preload_of_services(void)
{
    FILE *file = fopen(SERVICES_PATH, "re");
    char *line = NULL, *found = NULL, *value;
    size_t size = 0;

    if (!file)
        return NULL;
    while (getline(&line, &size, file) >= 0) {
        value = value_of(line, "LD_PRELOAD");
        if (!value)
            continue;
        free(found);
        found = xstrdup(value);
    }
    free(line);
    fclose(file);
    return found;
}

/* Other libraries in the list are not checked. */
static void check_library(struct doctor *doctor, char *list)
{
    char *library, *rest = list;

    while ((library = strsep(&rest, " :"))) {
        if (!strstr(library, PLUGIN_NAME))
            continue;
        if (access(library, R_OK) < 0)
            doctor_find(doctor, FINDING_BAD, "services",
                        "%s preloads %s: %s; saves at shutdown and by "
                        "libvirt bypass the plugin",
                        SERVICES_PATH, library, strerror(errno));
        else
            doctor_find(doctor, FINDING_OK, "services",
                        "saves at shutdown and by libvirt use the plugin "
                        "(%s)",
                        SERVICES_PATH);
        return;
    }
    doctor_find(doctor, FINDING_NOTE, "services",
                "%s preloads another library; saves at shutdown and by "
                "libvirt bypass the plugin",
                SERVICES_PATH);
}

static bool file_has(const char *pid, const char *name, const char *text)
{
    char path[64], *line = NULL;
    size_t size = 0;
    bool has = false;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%.16s/%s", pid, name);
    file = fopen(path, "re");
    if (!file)
        return false;
    while (!has && getline(&line, &size, file) >= 0)
        has = strstr(line, text);
    free(line);
    fclose(file);
    return has;
}

static void check_daemon(struct doctor *doctor, const char *pid,
                         const char *name, bool wanted)
{
    bool has = file_has(pid, "maps", PLUGIN_NAME);

    if (has)
        doctor_find(doctor, FINDING_OK, "services",
                    "%s (process %s) runs with the plugin%s", name, pid,
                    wanted ? "" : ", until it is restarted");
    else if (wanted)
        doctor_find(doctor, FINDING_NOTE, "services",
                    "%s (process %s) runs without the plugin: restart it",
                    name, pid);
}

static void check_daemons(struct doctor *doctor, bool wanted)
{
    struct dirent *entry;
    DIR *proc = opendir("/proc");
    size_t i;

    if (!proc)
        return;
    while ((entry = readdir(proc))) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        for (i = 0; i < sizeof(daemons) / sizeof(daemons[0]); i++) {
            if (file_has(entry->d_name, "comm", daemons[i]))
                check_daemon(doctor, entry->d_name, daemons[i], wanted);
        }
    }
    closedir(proc);
}

void doctor_services(struct doctor *doctor)
{
    char *list = preload_of_services();
    bool wanted = list && strstr(list, PLUGIN_NAME);

    if (list)
        check_library(doctor, list);
    else
        doctor_find(doctor, FINDING_NOTE, "services",
                    "saves at shutdown and by libvirt bypass the plugin; "
                    "see %s",
                    SERVICES_PATH);
    check_daemons(doctor, wanted);
    free(list);
}
