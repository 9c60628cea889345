/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The options of a save or restore, from the settings. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "internal.h"

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

int options_read(xl_aligned_options *opts, const struct environment *env,
                 int minor, char *why, size_t size)
{
    struct settings settings;
    int r = settings_read(&settings, env, minor, why, size);

    if (!r && env)
        r = check_commit_name(env->commit_name, why, size);
    if (r)
        settings_default(&settings);
    options_set(opts, &settings);
    /* Of this one command, which knows what it writes to. */
    opts->any_reader = !r && env && env->format && env->pipe &&
                       opts->format != XL_ALIGNED_FORMAT_AUTO;
    return r;
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
