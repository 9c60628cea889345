/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs when the library is loaded.  In a toolstack: takes what concerns it out
 * of the environment, so that nothing that the toolstack starts inherits it.
 * In any other program, which may be a script that runs one: leaves it there.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/fd.h"
#include "operation/xenstore.h"
#include "runtime.h"

#define PRELOAD_SEPARATORS " :"

/*
 * How many programs, each started by the one before, have handed this library
 * on.  More than any chain of scripts around a toolstack needs; what a daemon
 * starts, which is no toolstack after all, is rid of it then.
 */
#define HOPS_VARIABLE "XL_ALIGNED_HOPS"
#define HOPS_MAX      8

struct environment environment;
char own_path[PATH_MAX];
bool libxl_came_late;

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
           !stat(path, &other) && stat_same(&own, &other);
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

/*
 * Variables that stand in the environment of a service must not change what
 * its migrations send, or rename its files: those of a command are signed
 * with the command's process, which is this one or waits for it.
 */
static bool is_of_command(void)
{
    const char *text = secure_getenv("XL_ALIGNED_BY");
    struct process process, now;

    if (!text || process_parse(text, &process))
        return false;
    /* If /proc cannot be read, a file must get its name all the same. */
    return process_of(process.pid, &now) ? errno != ENOENT
                                         : now.start == process.start;
}

static void take_once(void)
{
    environment_read(&environment, is_of_command());
    environment_unset(true);
    unsetenv(HOPS_VARIABLE);
    unsetenv("XL_ALIGNED_BY");
    leave_preload();
}

void environment_take(void)
{
    static pthread_once_t taken = PTHREAD_ONCE_INIT;

    pthread_once(&taken, take_once);
}

static void hand_on(void)
{
    const char *text = getenv(HOPS_VARIABLE);
    int hops = text ? atoi(text) : 0;
    char next[16];

    if (hops < 0 || hops >= HOPS_MAX) {
        environment_take();
        return;
    }
    snprintf(next, sizeof(next), "%d", hops + 1);
    if (setenv(HOPS_VARIABLE, next, 1))
        environment_take();
}

static void __attribute__((constructor)) preload(void)
{
    find_own_path();
    libxl_came_late = !real_symbol("libxl_ctx_alloc");
    if (!libxl_came_late)
        environment_take();
    else
        hand_on();
}

/*
 * The first that a toolstack calls.  One that loads libxenlight as a module,
 * as libvirt does, is known as a toolstack from here on; it calls this before
 * it has anything to do with domains, and hence anything to start.
 */
EXPORT int libxl_ctx_alloc(libxl_ctx **pctx, int version, unsigned flags,
                           xentoollog_logger *lg)
{
    int (*real)(libxl_ctx **, int, unsigned,
                xentoollog_logger *) = real_symbol("libxl_ctx_alloc");

    environment_take();
    return real ? real(pctx, version, flags, lg) : ERROR_NI;
}
