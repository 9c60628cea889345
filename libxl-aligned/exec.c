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

#define ENVIRONMENT_MAX 65536 /* bytes of pointers, and of LD_PRELOAD */

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
            !is_variable(environ[i], STREAM_VARIABLE))
            variables[used++] = environ[i];
    }
    variables[used++] = preload;
    variables[used++] = stream;
    variables[used] = NULL;

    return execvpe(file, argv, variables);
}

EXPORT int execvp(const char *file, char *const argv[])
{
    char stream[sizeof(STREAM_VARIABLE "=") + STREAM_PLAN_MAX];
    const size_t used = strlen(STREAM_VARIABLE "=");
    const struct stream_plan *plan = NULL;
    const struct helper_mode *mode;
    int argc;

    for (argc = 0; argv[argc]; argc++)
        ;
    mode = helper_mode(argc, argv);
    if (mode && helper_is_plain(argc, argv))
        plan = operation_child(atoi(argv[HELPER_FD]), mode->restore,
                               atoi(argv[HELPER_DOMID]));
    strcpy(stream, STREAM_VARIABLE "=");
    if (!plan || stream_plan_format(plan, stream + used, STREAM_PLAN_MAX))
        return execvpe(file, argv, environ);
    /* A plan is made after the runtime is known: this does not block. */
    return exec_with_library(file, argv, stream,
                             runtime_get()->helper_library);
}
