/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "operation/xenstore.h"
#include "plugin.h"

/* ---- settings ----------------------------------------------------------- */

static const char *option_name(const struct command *self, int opt)
{
    const struct option *option = self->long_options;

    while (option->val != opt)
        option++;
    return option->name;
}

int plugin_option(const struct command *self, int opt, const char *value,
                  struct environment *env)
{
    const struct setting *setting = &settings_table[opt - OPTION_LONG];
    struct settings scratch;

    if (opt < OPTION_LONG || opt >= OPTION_LONG + SETTINGS)
        return 0;
    if (setting->parse(&scratch, value)) {
        command_misuse(self, "--%s=%s: the value must be one of %s",
                       option_name(self, opt), value, setting->words);
        return -1;
    }
    *(const char **)((char *)env + setting->member) = value;
    return 1;
}

int plugin_options_check(const struct command *self,
                         const struct environment *env)
{
    const char *format = env->format, *compress = env->compress;

    if (!compress || !strcmp(compress, "none") || !format ||
        !strcmp(format, "v3") || !strcmp(format, "auto"))
        return 0;
    return command_misuse(self,
                          "--compress=%s: only v3 can be compressed, "
                          "not %s",
                          compress, format);
}

/* ---- environment -------------------------------------------------------- */

static void variable_failed(void)
{
    report("setenv: %s", strerror(errno));
    exit(STATUS_FAILED);
}

const char *plugin_path(void)
{
    const char *set = secure_getenv("XL_ALIGNED_PLUGIN");

    return set && *set ? set : XL_ALIGNED_PLUGIN_PATH;
}

/* The plugin ignores the variables of a process that has ended. */
static void sign(void)
{
    struct process self;
    char *text;

    if (process_of(getpid(), &self) < 0) {
        report("cannot read the start time of this process in /proc");
        exit(STATUS_FAILED);
    }
    text = xasprintf("%ld-%" PRIu64, (long)self.pid, self.start);
    if (setenv("XL_ALIGNED_BY", text, 1))
        variable_failed();
    free(text);
}

bool plugin_environment(const struct environment *env)
{
    const char *plugin = plugin_path();
    const char *preload = getenv("LD_PRELOAD");
    char *both;

    /* A leftover value would be about another xl. */
    environment_unset(false);
    if (access(plugin, R_OK) < 0) {
        report("warning: no plugin at %s (%s): running plain xl", plugin,
               strerror(errno));
        return false;
    }
    sign();
    both = preload && *preload ? xasprintf("%s:%s", plugin, preload)
                               : xstrdup(plugin);
    if (environment_write(env) || setenv("LD_PRELOAD", both, 1))
        variable_failed();
    free(both);
    return true;
}

/* ---- xl-aligned run ----------------------------------------------------- */

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
        return command_misuse(self, "expected xl ARGUMENT...");
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
    /* Options end at the first operand: the rest belong to the program. */
    .short_options = "+",
    .long_options = (const struct option[]){
        FORMAT_OPTION, IO_OPTION, ENGINE_OPTION, COMPRESS_OPTION,
        RESTORE_IO_OPTION("restore-io"), HELP_OPTION },
    .run = run_run,
};
/* clang-format on */
