/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "plugin.h"
#include "progress.h"
#include "savefile.h"
#include "target.h"

static bool is_whole(const struct target *target, struct savefile *file)
{
    bool whole = savefile_attach(file, target->partial,
                                 dup(target->file.fd)) == 0 &&
                 xensave_file_check(file->fd, &file->probed, &file->error) ==
                     0;

    savefile_close(file);
    return whole && savefile_look(target->file.fd) == PARTIAL_USABLE;
}

/*
 * xl has reported success and the domain may be gone: from here on the file is
 * always kept.
 */
static int settle(struct target *target)
{
    struct savefile file;
    int status;

    if (!target->final || target_is_renamed(target))
        return STATUS_OK;
    /*
     * The plugin did not commit the file: it fell back to plain xl, or is
     * missing.
     */
    if (!is_whole(target, &file)) {
        report("xl reports success, but the file is incomplete%s%s; it is "
               "kept as %s",
               file.error.text[0] ? ": " : "", file.error.text,
               target->partial);
        return STATUS_FAILED;
    }
    status = target_commit(target);
    if (status != STATUS_OK)
        report("the domain is saved in %s", target->partial);
    return status;
}

static int conclude(struct target *target, const struct xl_result *result)
{
    struct savefile file;

    if (result->status == STATUS_OK) {
        int status = settle(target);

        if (result->interrupt && status == STATUS_OK)
            report("too late to cancel the save: already complete");
        return status;
    }
    if (result->killed && target_is_renamed(target)) {
        report("xl was killed after %s was complete; the domain may still "
               "exist, suspended",
               target->final);
        return result->status;
    }
    if (result->killed && target->final && is_whole(target, &file)) {
        report("xl was killed, but %s is complete: if the domain is gone, "
               "restore it from this file; else remove the file",
               target->partial);
        return result->status;
    }
    if (result->killed)
        report("xl was killed; the domain may still be suspended");
    target_abandon(target);
    if (result->interrupt)
        report("%s: not written", target->given);
    return result->interrupt ? 128 + result->interrupt : result->status;
}

static int save(struct xl *xl, char **operands, struct environment *settings,
                const char *progress_mode, bool force)
{
    struct target target = TARGET_INIT;
    struct replace replace = { .in = -1 };
    struct partial_kind kind = replace_kind(&replace, force);
    struct xl_result result;
    int status;

    xl->program = xl_program();
    if (!xl->program)
        return STATUS_NO_XL;
    xl->domain = operands[0];
    xl->file = operands[1];
    xl_guard(xl);
    replace_set_domain(&replace, operands[0]);
    status = target_open(&target, operands[1], &kind);
    if (status != STATUS_OK)
        return status;

    /*
     * xl inherits the descriptor, and with it the lock, even if this program
     * is killed.
     */
    fcntl(target.file.fd, F_SETFD, 0);
    operands[1] = target.path;
    arguments_add_operands(&xl->arguments, operands);
    settings->commit_name = target.final;
    settings->pipe = settings->format ? "yes" : NULL;
    if (!plugin_environment(settings) && settings->live)
        report("warning: without the plugin the domain is paused during the "
               "save");
    if (xl_run_shown(xl, progress_mode, &result) < 0) {
        target_abandon(&target);
        status = result.status;
    } else {
        status = conclude(&target, &result);
    }
    progress_end(xl->shown, status == STATUS_OK);
    target_close(&target);
    return status;
}

enum { OPTION_LIVE = OPTION_LONG + SETTINGS, OPTION_PROGRESS };

static int save_run(const struct command *self, int argc, char **argv)
{
    const char *progress = NULL;
    bool runs_on = false, force = false;
    struct environment settings = { 0 };
    struct xl xl;
    int opt, r, status;

    xl_init(&xl, &xl_save, "save");
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
        } else if (opt == OPTION_FORCE)
            force = true;
        else if (opt == OPTION_LIVE)
            settings.live = "yes";
        else if (!r)
            arguments_add(&xl.arguments, letter);
        runs_on |= opt == 'c' || opt == 'p';
    }
    if (argc - optind < 2 || argc - optind > 3) {
        status = command_misuse(self, "expected DOMAIN FILE [CONFIG]");
        goto out;
    }
    status = command_refuse_standard(self, argv[optind + 1],
                                     ", or /dev/stdout");
    if (status)
        goto out;
    status = plugin_options_check(self, &settings);
    if (status)
        goto out;
    /* Pointless if the domain is destroyed after the save. */
    if (settings.live && !runs_on) {
        status = command_misuse(self, "--live needs -c or -p");
        goto out;
    }
    status = save(&xl, argv + optind, &settings, progress, force);

out:
    xl_free(&xl);
    return status;
}

/* clang-format off */
const struct command command_save = {
    .name = "save",
    .arguments = "[OPTION...] DOMAIN FILE [CONFIG]",
    .summary = "Save a domain to a file",
    .details =
        "  --format=FORMAT        of the file: v3 compat v2 auto\n"
        "  --io=HOW               how it is written:\n"
        "                         auto direct window buffered\n"
        "  --engine=ENGINE        auto uring thread\n"
        COMPRESS_HELP COMPRESS_ALL_HELP
        "  --live                 with -c or -p: let the domain run while it "
        "is saved\n"
        PROGRESS_HELP
        FORCE_HELP("a save file, or one of\n"
        "                         another domain")
        "\n"
        "xl's own options:\n"
        "  -c                     leave the domain running\n"
        "  -p                     leave the domain paused\n"
        "  -D                     store the domain id in the file\n"
        "\n"
        "Exit status: xl's, and 0 only if the file is whole; 127 if xl cannot "
        "be run;\n128 and its number if a signal ended the save.\n"
        "\n",
    .short_options = "cpD",
    .long_options = (const struct option[]){
        FORMAT_OPTION, IO_OPTION, ENGINE_OPTION, COMPRESS_OPTION,
        { "live", no_argument, NULL, OPTION_LIVE },
        PROGRESS_LONG_OPTION(OPTION_PROGRESS),
        FORCE_OPTION, HELP_OPTION },
    .run = save_run,
};
/* clang-format on */
