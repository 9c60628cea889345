/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as the file of `xl-aligned info` and `xl-aligned verify`, for
 * people and in JSON.  Its output goes nowhere; its exit status is one that
 * the manual names.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

#include "common/fd.h"
#include "xl-cmds/cmds.h"

static int run(const struct command *command, const char *first,
               const char *second, const char *path)
{
    char words[4][32];
    char *argv[5];
    int argc = 0;

    snprintf(words[0], sizeof(words[0]), "%s", command->name);
    argv[argc++] = words[0];
    if (first)
        argv[argc++] = memcpy(words[1], first, strlen(first) + 1);
    if (second)
        argv[argc++] = memcpy(words[2], second, strlen(second) + 1);
    snprintf(words[3], sizeof(words[3]), "%s", path);
    argv[argc++] = words[3];
    argv[argc] = NULL;
    optind = 0;
    return command->run(command, argc, argv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool quiet;
    struct fuzz_control control;
    char path[FD_PATH];
    int r;

    if (!quiet) {
        FUZZ_ASSERT(freopen("/dev/null", "w", stdout), NULL);
        quiet = true;
    }
    if (!fuzz_control(&control, &data, &size))
        return 0;
    fd_path(fuzz_file(data, size), path);
    if (control.flags & 1)
        r = run(&command_verify, control.flags & 2 ? "--json" : NULL, NULL,
                path);
    else
        r = run(&command_info, control.flags & 2 ? "--json" : NULL,
                control.flags & 4 ? "--records" : NULL, path);
    FUZZ_ASSERT(r >= STATUS_OK && r <= STATUS_USAGE, NULL);
    return 0;
}
