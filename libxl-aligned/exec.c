/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * execvp, as libxl calls it in the child of a fork: the save helper of a
 * stream that is ours gets the stream library in its environment; everything
 * else passes.  The parent may have had threads, so nothing here allocates or
 * locks.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#define ENVIRONMENT_MAX 65536 /* octets of pointers, and of LD_PRELOAD */

/* libxl-save-helper, in every Xen since 4.14; the stream type comes last. */
static const struct helper_mode {
    const char *name;
    bool restore;
    int argc;
} helper_modes[] = {
    { "--save-domain", false, 8 },
    { "--restore-domain", true, 11 },
};

static const struct helper_mode *helper_mode(char *const argv[])
{
    size_t i;
    int argc;

    for (argc = 0; argv[argc]; argc++)
        ;
    if (argc < 2)
        return NULL;
    for (i = 0; i < sizeof(helper_modes) / sizeof(helper_modes[0]); i++) {
        /* Remus and COLO (stream types other than 0) are left alone. */
        if (!strcmp(argv[1], helper_modes[i].name) &&
            argc == helper_modes[i].argc && !strcmp(argv[argc - 1], "0"))
            return &helper_modes[i];
    }
    return NULL;
}

static bool is_variable(const char *entry, const char *name)
{
    size_t length = strlen(name);

    return !strncmp(entry, name, length) && entry[length] == '=';
}

int exec_with_library(const char *file, char *const argv[], char *stream,
                      const char *library)
{
    const char *others = getenv("LD_PRELOAD");
    size_t count = 0, used = 0, i, preload_size;

    /* NULL after clearenv(). */
    for (i = 0; environ && environ[i]; i++)
        count++;
    preload_size = sizeof("LD_PRELOAD=:") + strlen(library) +
                   (others ? strlen(others) : 0);
    if (preload_size > ENVIRONMENT_MAX ||
        (count + 3) * sizeof(char *) > ENVIRONMENT_MAX)
        return execvpe(file, argv, environ);

    char *variables[count + 3];
    char preload[preload_size];

    snprintf(preload, preload_size, "LD_PRELOAD=%s%s%s", library,
             others && *others ? ":" : "", others ? others : "");
    for (i = 0; i < count; i++) {
        if (!is_variable(environ[i], "LD_PRELOAD") &&
            !is_variable(environ[i], "XL_ALIGNED_STREAM"))
            variables[used++] = environ[i];
    }
    variables[used++] = preload;
    variables[used++] = stream;
    variables[used] = NULL;

    return execvpe(file, argv, variables);
}

static int exec_helper(const char *file, char *const argv[], const char *plan,
                       const char *progress, const char *library)
{
    char stream[PLAN_TEXT_MAX + 192];
    int r = snprintf(stream, sizeof(stream), "XL_ALIGNED_STREAM=fd=%s;%s%s%s",
                     argv[2], plan, progress ? ";progress=" : "",
                     progress ? progress : "");

    if (r < 0 || r >= (int)sizeof(stream))
        return execvpe(file, argv, environ);
    return exec_with_library(file, argv, stream, library);
}

EXPORT int execvp(const char *file, char *const argv[])
{
    const struct helper_mode *mode = helper_mode(argv);
    const char *plan = mode ? plan_find(atoi(argv[2]), mode->restore) : NULL;
    const char *progress = mode ? operation_child(atoi(argv[2]), mode->restore,
                                                  atoi(argv[4]))
                                : NULL;

    if (!plan)
        return execvpe(file, argv, environ);
    if (!mode->restore)
        interrupt_child();
    /* A plan is only made once the runtime is known: this does not block. */
    return exec_helper(file, argv, plan, progress,
                       runtime_get()->helper_library);
}
