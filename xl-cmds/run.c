/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "plugin.h"

static int run_run(const struct command *self, int argc, char **argv)
{
    struct environment settings = { 0 };
    const char *program;
    int opt, status;

    while ((opt = command_option(self, argc, argv, &status)) != -1) {
        if (opt == OPTION_DONE)
            return status;
        if (plugin_option(self, opt, optarg, &settings) < 0)
            return STATUS_USAGE;
    }
    if (optind == argc)
        return command_misuse(self, "expected a program and its arguments");
    if (plugin_options_check(self, &settings))
        return STATUS_USAGE;

    program = argv[optind];
    if (strcmp(program, "xl") == 0) {
        program = xl_program();
        if (!program)
            return STATUS_NO_XL;
    }
    plugin_environment(&settings);
    return xl_become(program, argv + optind);
}

/* clang-format off */
const struct command command_run = {
    .name = "run",
    .arguments = "[OPTION...] [--] xl ARGUMENT...",
    .summary = "Run any xl command under the plugin",
    .details =
        "  --format=FORMAT        of files that are saved: v3 compat v2 auto\n"
        "  --io=HOW               how they are written:\n"
        "                         auto direct window buffered\n"
        "  --engine=ENGINE        auto uring thread\n"
        COMPRESS_HELP COMPRESS_ALL_HELP
        "  --restore-io=HOW       how files are read: auto direct buffered\n"
        "\n"
        "Exit status: that of the command; 127 if it cannot be run.\n"
        "\n",
    /* Options end at the first argument: the others are the program's. */
    .short_options = "+",
    .long_options = (const struct option[]){
        FORMAT_OPTION, IO_OPTION, ENGINE_OPTION, COMPRESS_OPTION,
        RESTORE_IO_OPTION("restore-io"), HELP_OPTION },
    .run = run_run,
};
/* clang-format on */
