/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs when the library is loaded: takes what concerns it out of the
 * environment, so that nothing that the toolstack starts inherits it.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define PRELOAD_SEPARATORS " :"

struct environment environment;
char own_path[PATH_MAX];

static void find_own_path(void)
{
    Dl_info info;

    if (!dladdr(own_path, &info) || !info.dli_fname)
        return;
    if (!realpath(info.dli_fname, own_path))
        own_path[0] = '\0';
}

static bool is_this_library(const char *entry, size_t length)
{
    static const char name[] = "libxl-aligned.so";
    char path[PATH_MAX];
    struct stat own, other;
    const char *base;

    if (length >= sizeof(path))
        return false;
    memcpy(path, entry, length);
    path[length] = '\0';

    base = strrchr(path, '/');
    base = base ? base + 1 : path;
    if (!strncmp(base, name, strlen(name)))
        return true;
    return strchr(path, '/') && own_path[0] && !stat(own_path, &own) &&
           !stat(path, &other) && own.st_dev == other.st_dev &&
           own.st_ino == other.st_ino;
}

/* Removes this library from LD_PRELOAD and keeps what others put there. */
static void leave_preload(void)
{
    const char *preload = getenv("LD_PRELOAD"), *p;
    char *rest;
    size_t used = 0, length;

    if (!preload)
        return;
    rest = malloc(strlen(preload) + 1);
    if (!rest) {
        unsetenv("LD_PRELOAD");
        return;
    }

    for (p = preload; *p; p += length) {
        p += strspn(p, PRELOAD_SEPARATORS);
        length = strcspn(p, PRELOAD_SEPARATORS);
        if (!length || is_this_library(p, length))
            continue;
        if (used)
            rest[used++] = ':';
        memcpy(rest + used, p, length);
        used += length;
    }
    rest[used] = '\0';

    if (used)
        setenv("LD_PRELOAD", rest, 1);
    else
        unsetenv("LD_PRELOAD");
    free(rest);
}

static void take(const char *name, char **value)
{
    /* Nothing at all in a program that runs with raised privileges. */
    char *found = secure_getenv(name);

    /* The text stays where it is when the variable goes. */
    if (found && *found)
        *value = found;
    unsetenv(name);
}

static void __attribute__((constructor)) preload(void)
{
    find_own_path();
    leave_preload();
    take("XL_ALIGNED_FORMAT", &environment.format);
    take("XL_ALIGNED_IO", &environment.io);
    take("XL_ALIGNED_ENGINE", &environment.engine);
    take("XL_ALIGNED_RESTORE_IO", &environment.restore_io);
    take("XL_ALIGNED_RESERVE", &environment.reserve);
    take("XL_ALIGNED_COMMIT_NAME", &environment.commit_name);
    take("XL_ALIGNED_CONFIG", &environment.config);
    take("XL_ALIGNED_LIVE", &environment.live);
    take("XL_ALIGNED_PROGRESS", &environment.progress);
    take("XL_ALIGNED_NEGOTIATED", &environment.negotiated);
}
