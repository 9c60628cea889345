/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/core.h"
#include "plugin.h"
#include "progress.h"
#include "target.h"

enum {
    OPTION_CORE_FORMAT = OPTION_LONG + 100,
    OPTION_NO_SPARSE,
    OPTION_PROGRESS,
};

static int dump_core_run(const struct command *self, int argc, char **argv)
{
    struct environment settings = { 0 };
    const char *format = "xen", *sparse = "yes", *progress = NULL;
    struct partial_kind kind = target_core;
    enum core_format parsed;
    struct xl xl;
    int opt, status;

    while ((opt = command_option(self, argc, argv, &status)) != -1) {
        switch (opt) {
        case OPTION_DONE:
            return status;
        case OPTION_CORE_FORMAT:
            format = optarg;
            if (core_format_parse(format, &parsed))
                return command_misuse(self,
                                      "--format=%s: the value must be "
                                      "one of xen elf",
                                      format);
            break;
        case OPTION_NO_SPARSE:
            sparse = "no";
            break;
        case OPTION_PROGRESS:
            progress = progress_option(self, optarg);
            if (!progress)
                return STATUS_USAGE;
            break;
        case OPTION_FORCE:
            kind.force = true;
            break;
        case 'q':
            progress = "none";
            break;
        default:
            if (plugin_option(self, opt, optarg, &settings) < 0)
                return STATUS_USAGE;
        }
    }
    if (argc - optind != 2)
        return command_misuse(self, "expected DOMAIN FILE");

    status = command_refuse_standard(self, argv[optind + 1], "");
    if (status)
        return status;
    if (!xl_program())
        return STATUS_NO_XL;
    status = target_check(argv[optind + 1], &kind);
    if (status != STATUS_OK)
        return status;
    settings.dump_format = format;
    settings.dump_sparse = sparse;
    /* Without the plugin, xl would write another format. */
    if (!plugin_environment(&settings)) {
        if (strcmp(format, "xen") != 0) {
            report("--format=%s needs the plugin", format);
            return STATUS_FAILED;
        }
        progress = "none";
    }
    xl_init(&xl, &xl_dump, "dump-core");
    xl.program = xl_program();
    xl.domain = argv[optind];
    xl.file = argv[optind + 1];
    arguments_add_operands(&xl.arguments, argv + optind);
    status = xl_finish(&xl, progress);
    xl_free(&xl);
    return status;
}

/* clang-format off */
const struct command command_dump_core = {
    .name = "dump-core",
    .arguments = "[OPTION...] DOMAIN FILE",
    .summary = "Write a domain's memory and registers to a file",
    .details =
        "  --format=FORMAT        xen: what Xen's own tools read (default)\n"
        "                         elf: for crash, drgn, gdb and the like\n"
        "  --no-sparse            write zero pages too; no holes\n"
        "  --io=HOW               how it is written:\n"
        "                         auto direct window buffered\n"
        "  --engine=ENGINE        auto uring thread\n"
        PROGRESS_HELP
        FORCE_HELP("a core")
        "  -q, --quiet            no progress on a terminal\n"
        "\n"
        "Exit status: xl's; 1 without the plugin that elf needs, 127 if xl "
        "cannot be\nrun.\n"
        "\n",
    .short_options = "q",
    .long_options = (const struct option[]){
        { "format", required_argument, NULL, OPTION_CORE_FORMAT },
        { "no-sparse", no_argument, NULL, OPTION_NO_SPARSE },
        { "quiet", no_argument, NULL, 'q' },
        PROGRESS_LONG_OPTION(OPTION_PROGRESS),
        FORCE_OPTION, IO_OPTION, ENGINE_OPTION, HELP_OPTION },
    .run = dump_core_run,
};
/* clang-format on */
