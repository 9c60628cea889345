/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Determined when a process first saves or restores, not when the library is
 * loaded: `xl list` needs no configuration.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/text.h"
#include "report.h"
#include "runtime.h"

#define HELPER_LIBRARY "libxl-aligned-stream.so"

static struct runtime runtime;
static pthread_once_t runtime_once = PTHREAD_ONCE_INIT;

/*
 * A helper would not start if its preload lacked a dependency, so try to load
 * it here first.  Its constructor acts in helpers only.
 */
static void try_helper_library(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (!library)
        snprintf(runtime.why, sizeof(runtime.why), "%s", dlerror());
    else if (strpbrk(path, " :"))
        snprintf(runtime.why, sizeof(runtime.why),
                 "%.400s cannot be preloaded: space or colon in its path",
                 path);
    if (library)
        dlclose(library);
}

/* Installed beside this library in a folder of its own; in a build, beside. */
static void find_helper_library(void)
{
    static const char *const places[] = {
        "xl-aligned/" HELPER_LIBRARY,
        HELPER_LIBRARY,
    };
    const char *slash = strrchr(own_path, '/');
    int folder = slash ? slash + 1 - own_path : 0, r;
    char *path = runtime.helper_library;
    size_t i;

    for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        r = snprintf(path, sizeof(runtime.helper_library), "%.*s%s", folder,
                     own_path, places[i]);
        if (folder && r < (int)sizeof(runtime.helper_library) &&
            !access(path, F_OK)) {
            try_helper_library(path);
            return;
        }
    }
    snprintf(runtime.why, sizeof(runtime.why), "%.*s%s is missing", folder,
             own_path, places[0]);
    path[0] = '\0';
}

/* ---- options ------------------------------------------------------------ */

static void options_set(xl_aligned_options *opts,
                        const struct settings *settings)
{
    memset(opts, 0, sizeof(*opts));
    opts->format = settings->format;
    opts->io = settings->io;
    opts->restore_io = settings->restore_io;
    opts->engine = settings->engine;
    opts->compression = settings->compression;
    opts->reserve = settings->reserve;
}

static int check_commit_name(const char *name, char *why, size_t size)
{
    char text[256];

    if (!name || name[0] == '/')
        return 0;
    text_printable(text, sizeof(text), name, strlen(name));
    snprintf(why, size, "XL_ALIGNED_COMMIT_NAME: %s is not an absolute path",
             text);
    return -1;
}

/* As settings_read(); the defaults after an error. */
static int options_read(xl_aligned_options *opts,
                        const struct environment *env, int minor, char *why,
                        size_t size)
{
    struct settings settings;
    int r = settings_read(&settings, env, minor, why, size);

    if (!r && env)
        r = check_commit_name(env->commit_name, why, size);
    if (r)
        settings_default(&settings);
    options_set(opts, &settings);
    /* Only a command knows the reader of its pipe. */
    opts->any_reader = !r && env && env->format && env->pipe &&
                       opts->format != XL_ALIGNED_FORMAT_AUTO;
    return r;
}

static void runtime_find(void)
{
    char why[sizeof(runtime.why)] = "";

    real_find(&runtime.real, runtime.why, sizeof(runtime.why));
    /* commit_name is honoured on the stock path too. */
    if (options_read(&runtime.opts, &environment, runtime.real.minor, why,
                     sizeof(why)) &&
        !runtime.why[0])
        memcpy(runtime.why, why, sizeof(why));
    runtime.opts.commit_name = (char *)environment.commit_name;
    if (!runtime.why[0])
        find_helper_library();
}

const struct runtime *runtime_get(void)
{
    pthread_once(&runtime_once, runtime_find);
    return &runtime;
}

bool runtime_usable(const struct runtime *rt, xentoollog_logger *lg)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;

    if (!rt->why[0])
        return true;
    if (!atomic_flag_test_and_set(&said))
        report(lg, XTL_WARN, "%s; using stock save and restore", rt->why);
    return false;
}

EXPORT int xl_aligned_options_init(xl_aligned_options *opts,
                                   xentoollog_logger *lg)
{
    char why[512];
    int r = options_read(opts, NULL, runtime_get()->real.minor, why,
                         sizeof(why));

    if (r)
        report(lg, XTL_ERROR, "%s", why);
    opts->lg = lg;
    return r ? ERROR_INVAL : 0;
}

EXPORT void xl_aligned_options_dispose(xl_aligned_options *opts)
{
    free(opts->commit_name);
    opts->commit_name = NULL;
}
