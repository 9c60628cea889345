/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stands in for the save helper: runs the one that MEMCHECK_PROGRAM names
 * under valgrind.  Linked statically, and past valgrind's own launchers: no
 * program before the helper may load what is preloaded for it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef MEMCHECK_LIBEXEC
#define MEMCHECK_LIBEXEC "/usr/libexec/valgrind"
#endif
#define TOOL    MEMCHECK_LIBEXEC "/memcheck-amd64-linux"
#define OPTIONS 9

int main(int argc, char **argv)
{
    const char *program = getenv("MEMCHECK_PROGRAM");
    const char *log = getenv("MEMCHECK_LOG");
    char **arguments = calloc(argc + OPTIONS + 1, sizeof(*arguments));
    char log_option[512];
    int n = 0, i;

    if (!program || !log || !arguments)
        return 2;
    snprintf(log_option, sizeof(log_option), "--log-file=%s.%%p", log);
    arguments[n++] = TOOL;
    arguments[n++] = "--leak-check=full";
    arguments[n++] = "--show-leak-kinds=definite,possible";
    arguments[n++] = "--errors-for-leak-kinds=definite";
    arguments[n++] = "--track-fds=yes";
    arguments[n++] = "--num-callers=30";
    arguments[n++] = log_option;
    arguments[n++] = (char *)program;
    for (i = 1; i < argc; i++)
        arguments[n++] = argv[i];
    setenv("VALGRIND_LIB", MEMCHECK_LIBEXEC, 1);
    setenv("VALGRIND_LAUNCHER", "/usr/bin/valgrind.bin", 1);
    execv(TOOL, arguments);
    perror(TOOL);
    return 2;
}
