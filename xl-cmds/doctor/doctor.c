/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"
#include "xl-cmds/json.h"
#include "xl-cmds/migrate/carriers/options.h"

static const char *const level_names[] = {
    [FINDING_OK] = "ok",
    [FINDING_NOTE] = "note",
    [FINDING_BAD] = "BAD",
};

void doctor_find(struct doctor *doctor, enum finding_level level,
                 const char *what, const char *format, ...)
{
    struct finding *finding;
    char text[1024];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    doctor->findings = xrealloc(doctor->findings,
                                (doctor->count + 1) *
                                    sizeof(*doctor->findings));
    finding = &doctor->findings[doctor->count++];
    finding->level = level;
    finding->what = what;
    finding->text = xstrdup(text);
}

bool doctor_is_bad(const struct doctor *doctor)
{
    size_t i;

    for (i = 0; i < doctor->count; i++)
        if (doctor->findings[i].level == FINDING_BAD)
            return true;
    return false;
}

static void print(const struct doctor *doctor)
{
    size_t i;

    for (i = 0; i < doctor->count; i++)
        say("%-11s %-4s  %s", doctor->findings[i].what,
            level_names[doctor->findings[i].level], doctor->findings[i].text);
    putchar('\n');
    say("%s", doctor->outlook);
}

static int print_json(const struct doctor *doctor)
{
    yajl_gen gen = json_begin();
    size_t i;

    if (!gen) {
        errno = ENOMEM;
        return -1;
    }
    yajl_gen_map_open(gen);
    json_text(gen, "directory", doctor->directory);
    json_truth(gen, "healthy", !doctor_is_bad(doctor));
    json_open_array(gen, "findings");
    for (i = 0; i < doctor->count; i++) {
        const struct finding *finding = &doctor->findings[i];

        yajl_gen_map_open(gen);
        json_text(gen, "what", finding->what);
        json_text(gen, "level",
                  finding->level == FINDING_BAD ? "bad"
                                                : level_names[finding->level]);
        json_text(gen, "text", finding->text);
        yajl_gen_map_close(gen);
    }
    yajl_gen_array_close(gen);
    json_text(gen, "outlook", doctor->outlook);
    yajl_gen_map_close(gen);
    return json_end(gen);
}

static int doctor_run(const struct command *self, int argc, char **argv)
{
    struct doctor doctor = { .directory = ".", .minor = -1 };
    struct carrier_options tls = { 0 };
    const char *allow = NULL;
    bool json = false;
    int opt, status;
    size_t i;

    while ((opt = command_option(self, argc, argv, &status)) != -1) {
        if (opt == OPTION_DONE)
            return status;
        json |= opt == OPTION_JSON;
        if (opt == OPTION_ALLOW_FILE)
            allow = optarg;
        carrier_option(opt, optarg, &tls);
    }
    if (argc - optind > 1)
        return command_misuse(self, "expected [DIRECTORY]");
    if (optind < argc)
        doctor.directory = argv[optind];

    doctor_host(&doctor);
    doctor_settings(&doctor);
    doctor_services(&doctor);
    doctor_tls(&doctor, &tls, allow);
    doctor_directory(&doctor);
    status = doctor_is_bad(&doctor) ? STATUS_FAILED : STATUS_OK;
    if (json ? print_json(&doctor) : (print(&doctor), 0))
        status = STATUS_FAILED;
    if (fflush(stdout) || ferror(stdout)) {
        report("writing to stdout: %s", strerror(errno));
        status = STATUS_FAILED;
    }
    for (i = 0; i < doctor.count; i++)
        free(doctor.findings[i].text);
    free(doctor.findings);
    free(doctor.outlook);
    return status;
}

/* clang-format off */
const struct command command_doctor = {
    .name = "doctor",
    .arguments = "[OPTION...] [DIRECTORY]",
    .summary = "Show what a save on this host will do, and why",
    .details =
        "  --json                 for programs\n"
        TLS_HELP
        "  --allow-file=FILE      subjects that may connect (allow there)\n"
        "\n"
        "DIRECTORY is where saves go, the current one if it is left out.  A "
        "file is\n"
        "made in it that has no name and is gone again.\n"
        "\n"
        "Exit status: 0 all is well, 1 something is BAD.\n"
        "\n",
    .short_options = "",
    .long_options = (const struct option[]){
        { "json", no_argument, NULL, OPTION_JSON },
        { "allow-file", required_argument, NULL, OPTION_ALLOW_FILE },
        TLS_OPTIONS, HELP_OPTION },
    .run = doctor_run,
};
/* clang-format on */
