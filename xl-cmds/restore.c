/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plugin.h"
#include "progress.h"
#include "savefile.h"

enum { OPTION_PROGRESS = OPTION_LONG + SETTINGS };
/* With these, xl keeps running, or starts a program that uses the terminal. */
#define STAYS "FcVA"

/* The domain's name as stored in the file; NULL if there is none. */
static char *domain_in(const char *name)
{
    struct domain_config config = { 0 };
    struct savefile file;

    if (savefile_open(&file, name) == 0) {
        savefile_config(&file, &config);
        savefile_close(&file);
    }
    return config.name[0] ? xstrdup(config.name) : NULL;
}

/* Without the plugin, xl would reject v3 only after creating the domain. */
static bool needs_plugin(const char *name)
{
    struct savefile file;
    bool needs = false;

    if (savefile_open(&file, name) == 0) {
        needs = file.probed.format == XENSAVE_FORMAT_V3;
        savefile_close(&file);
    }
    return needs;
}

static int restore_run(const struct command *self, int argc, char **argv)
{
    struct environment settings = { 0 };
    const char *progress = NULL;
    char *domain = NULL;
    struct xl xl;
    int opt, r, status;
    char stays = 0;

    xl_init(&xl, &xl_restore, "restore");
    while ((opt = command_option(self, argc, argv, &status)) != -1) {
        char letter[] = { '-', (char)opt, 0 };

        if (opt == OPTION_DONE)
            goto out;
        r = plugin_option(self, opt, optarg, &settings);
        status = STATUS_USAGE;
        if (r < 0)
            goto out;
        if (opt == OPTION_PROGRESS) {
            progress = progress_option(self, optarg);
            if (!progress)
                goto out;
        } else if (!r) {
            arguments_add(&xl.arguments, letter);
            stays = strchr(STAYS, opt) ? opt : stays;
        }
    }
    if (stays && progress && strcmp(progress, "none") != 0) {
        status = command_misuse(self, "--progress cannot be used with -%c",
                                stays);
        goto out;
    }
    if (argc - optind < 1 || argc - optind > 2) {
        status = command_misuse(self, "expected [CONFIG] FILE");
        goto out;
    }
    status = command_refuse_standard(self, argv[argc - 1], ", or /dev/stdin");
    if (status)
        goto out;
    arguments_add_operands(&xl.arguments, argv + optind);

    xl.program = xl_program();
    if (!xl.program) {
        status = STATUS_NO_XL;
        goto out;
    }
    if (plugin_environment(&settings)) {
        progress = stays ? "none" : progress;
    } else if (needs_plugin(argv[argc - 1])) {
        report("%s is a v3 file, which only the plugin can restore; install "
               "it, or convert the file: xl-aligned convert --to=v2",
               argv[argc - 1]);
        status = STATUS_FAILED;
        goto out;
    } else {
        progress = "none";
    }
    xl.file = argv[argc - 1];
    /* The other configuration may have another name. */
    if (argc - optind == 1 && progress_wanted(progress))
        xl.domain = domain = domain_in(xl.file);
    status = xl_finish(&xl, progress);

out:
    free(domain);
    xl_free(&xl);
    return status;
}

/* clang-format off */
const struct command command_restore = {
    .name = "restore",
    .arguments = "[OPTION...] [CONFIG] FILE",
    .summary = "Restore a domain from a file of any format",
    .details =
        "  --io=HOW               how the file is read: auto direct buffered\n"
        PROGRESS_HELP
        "\n"
        "xl's own options:\n"
        "  -p                     leave the domain paused\n"
        "  -e                     do not wait for the domain to die\n"
        "  -F                     wait in the foreground\n"
        "  -c                     attach to the domain's console\n"
        "  -d                     debug messages\n"
        "  -V, --vncviewer        attach a VNC viewer\n"
        "  -A, --vncviewer-autopass\n"
        "                         attach a VNC viewer, password on its stdin\n"
        "\n"
        "Exit status: xl's; 127 if xl cannot be run.\n"
        "\n",
    .short_options = "FcpdeVA",
    .long_options = (const struct option[]){
        RESTORE_IO_OPTION("io"), PROGRESS_LONG_OPTION(OPTION_PROGRESS),
        { "vncviewer", no_argument, NULL, 'V' },
        { "vncviewer-autopass", no_argument, NULL, 'A' },
        HELP_OPTION },
    .run = restore_run,
};
/* clang-format on */
