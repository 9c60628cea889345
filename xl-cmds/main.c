/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xl-aligned: xl save and restore without dom0's page cache, and tools for the
 * save files.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmds.h"
#include "common/text.h"

static const struct command *const commands[] = {
    &command_save,    &command_restore,   &command_run,     &command_info,
    &command_verify,  &command_convert,   &command_page,    &command_diff,
    &command_doctor,  &command_dump_core, &command_to_core, &command_migrate,
    &command_listen,  &command_status,    &command_cancel,  &command_transport,
    &command_receive,
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void __attribute__((format(printf, 3, 0)))
print_line(FILE *to, const char *start, const char *format, va_list ap,
           const char *end)
{
    char *text = text_message(format, ap);

    /*
     * A single write, so that the output of other processes does not
     * interleave.
     */
    fprintf(to, "%s%s%s\n", start, text ? text : "out of memory", end);
    free(text);
}

void say(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    print_line(stdout, "", format, ap, "");
    va_end(ap);
}

void report(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    print_line(stderr, "xl-aligned: ", format, ap, "");
    va_end(ap);
}

void report_about(const char *name, const char *text)
{
    const char *slash = strrchr(name, '/');

    if (strstr(text, slash ? slash + 1 : name))
        report("%s", text);
    else
        report("%s: %s", name, text);
}

int command_misuse(const struct command *self, const char *format, ...)
{
    char start[64], end[64];
    va_list ap;

    snprintf(start, sizeof(start), "xl-aligned %s: ", self->name);
    snprintf(end, sizeof(end), "; see xl-aligned %s --help", self->name);
    va_start(ap, format);
    print_line(stderr, start, format, ap, end);
    va_end(ap);
    return STATUS_USAGE;
}

static void command_help(const struct command *self)
{
    printf("Usage: xl-aligned %s %s\n"
           "\n"
           "%s.\n"
           "\n"
           "%s  -h, --help             show this text\n",
           self->name, self->arguments, self->summary, self->details);
}

/*
 * optopt: the letter of a short option; 0, or at least OPTION_LONG, for a long
 * one.
 */
static void describe_refused(const struct command *self, int opt,
                             const char *argument)
{
    const char *before = opt == ':' ? "" : "unknown option ";
    const char *after = opt == ':' ? " needs a value" : "";

    if (optopt > 0 && optopt < OPTION_LONG)
        command_misuse(self, "%s-%c%s", before, optopt, after);
    else
        command_misuse(self, "%s%.*s%s", before, (int)strcspn(argument, "="),
                       argument, after);
}

int command_refuse_standard(const struct command *self, const char *name,
                            const char *instead)
{
    return is_standard(name)
               ? command_misuse(self,
                                "- is not supported here: name a "
                                "file%s",
                                instead)
               : STATUS_OK;
}

/*
 * False if an operand is empty.  After run's program come arguments of its
 * own, which may be empty.
 */
static bool operands_named(const struct command *self, int argc, char **argv)
{
    int i, end = self->short_options[0] == '+' ? optind + 1 : argc;

    for (i = optind; i < end && i < argc; i++)
        if (!*argv[i])
            return false;
    return true;
}

int command_option(const struct command *self, int argc, char **argv,
                   int *status)
{
    char short_options[32];
    int opt;

    opterr = 0;
    snprintf(short_options, sizeof(short_options), "%s%sh",
             self->short_options[0] == '+' ? "+:" : ":",
             self->short_options + (self->short_options[0] == '+'));
    opt = getopt_long(argc, argv, short_options, self->long_options, NULL);
    *status = STATUS_USAGE;
    if (opt == -1 && !operands_named(self, argc, argv)) {
        command_misuse(self, "empty operand: expected a file, domain, host, "
                             "address or page");
        return OPTION_DONE;
    }
    if (opt > 0 && opt != '?' && opt != ':' && optarg && !*optarg) {
        describe_refused(self, ':',
                         argv[optind - (*argv[optind - 1] ? 1 : 2)]);
        return OPTION_DONE;
    }
    switch (opt) {
    case 'h':
        command_help(self);
        *status = STATUS_OK;
        return OPTION_DONE;
    case '?':
    case ':':
        describe_refused(self, opt, argv[optind - 1]);
        return OPTION_DONE;
    default:
        return opt;
    }
}

static void help(FILE *to)
{
    size_t i;

    fputs("Usage: xl-aligned COMMAND [ARGUMENT...]\n\n"
          "Saves and restores Xen domains without dom0's page cache.\n\n",
          to);
    for (i = 0; i < COMMANDS; i++) {
        if (!commands[i]->internal)
            fprintf(to, "  %-10s %s\n", commands[i]->name,
                    commands[i]->summary);
    }
    fputs("  help       Show the help of a command\n"
          "\n"
          "  --help     show this text\n"
          "  --version  show the version\n"
          "\n"
          "See xl-aligned COMMAND --help or xl-aligned-COMMAND(8) for each "
          "command.\n",
          to);
}

static const struct command *find_command(const char *name)
{
    size_t i;

    for (i = 0; i < COMMANDS; i++)
        if (strcmp(name, commands[i]->name) == 0)
            return commands[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    size_t i;

    for (i = 0; i < COMMANDS; i++)
        if (!commands[i]->internal && text_resembles(name, commands[i]->name))
            break;
    if (i < COMMANDS)
        report("unknown command %s; did you mean %s?", name,
               commands[i]->name);
    else
        report("unknown command %s; see xl-aligned --help", name);
    return STATUS_USAGE;
}

int main(int argc, char **argv)
{
    const struct command *command;
    const char *name = argc > 1 ? argv[1] : NULL;

    if (!name) {
        help(stderr);
        return STATUS_USAGE;
    }
    if (strcmp(name, "--version") == 0) {
        puts("xl-aligned " XL_ALIGNED_VERSION);
        return STATUS_OK;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 ||
        strcmp(name, "help") == 0) {
        if (name[0] == '-' || argc < 3) {
            help(stdout);
            return STATUS_OK;
        }
        command = find_command(argv[2]);
        if (!command)
            return unknown_command(argv[2]);
        command_help(command);
        return STATUS_OK;
    }
    if (name[0] == '-') {
        report("unknown option %s; see xl-aligned --help", name);
        return STATUS_USAGE;
    }
    command = find_command(name);
    if (!command)
        return unknown_command(name);
    return command->run(command, argc - 1, argv + 1);
}
