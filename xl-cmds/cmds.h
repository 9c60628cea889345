/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared by the subcommands of xl-aligned.  Each is a struct command in a file
 * of its own; main.c holds the table.
 */
#ifndef XL_CMDS_H
#define XL_CMDS_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit statuses; xl's own, 130 and 143 are passed through. */
#define STATUS_OK     0
#define STATUS_FAILED 1
#define STATUS_USAGE  2 /* also: could not be checked */
#define STATUS_NO_XL  127

struct command {
    const char *name;
    const char *arguments;     /* for the synopsis */
    const char *summary;       /* one line, for the list of commands */
    bool internal;             /* not listed: run by other commands */
    const char *details;       /* for --help: options, one a line */
    const char *short_options; /* for getopt; --help and -h are added */
    const struct option *long_options;
    int (*run)(const struct command *self, int argc, char **argv);
};

/* Values of long options without a letter start here. */
#define OPTION_LONG 256
#define HELP_OPTION                     \
    { "help", no_argument, NULL, 'h' }, \
    {                                   \
        0                               \
    }

/* Help text of --compress. */
#define COMPRESS_HELP                                                        \
    "  --compress=HOW         v3: none lz4 zstd lz4:LEVEL zstd:LEVEL (1 to " \
    "12, 19)\n"
/* For commands that hold up a guest. */
#define COMPRESS_ALL_HELP                                                     \
    "                         as far as there is time; with :all behind it, " \
    "all\n"

extern const struct command command_save, command_restore, command_run,
    command_info, command_verify, command_convert, command_dump_core,
    command_to_core, command_migrate, command_listen, command_transport,
    command_receive, command_page, command_diff, command_doctor,
    command_status, command_cancel;

/* main.c */

/*
 * The next option from getopt_long(), -1 after the last.  OPTION_DONE: help or
 * a usage error was printed, and the command returns *status.
 */
#define OPTION_DONE (-2)
int command_option(const struct command *self, int argc, char **argv,
                   int *status);
/*
 * "-" is standard input for commands that read a file, and input or output for
 * convert; other commands need a name. 0, or STATUS_USAGE after a report that
 * suggests `instead`.
 */
static inline bool is_standard(const char *name)
{
    return name[0] == '-' && !name[1];
}
int command_refuse_standard(const struct command *self, const char *name,
                            const char *instead);
/* Prints one line; returns STATUS_USAGE. */
int command_misuse(const struct command *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/*
 * One line on stdout.  Here and below the text is escaped: it stays one line,
 * safe for a terminal (common/text.h).
 */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* One line on stderr, "xl-aligned: " before it. */
void report(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same; `name` comes first unless the text names the file already. */
void report_about(const char *name, const char *text);

/* memory.c: these exit when out of memory. */
void *xrealloc(void *pointer, size_t length);
char *xstrdup(const char *string);
/* A name, escaped for a terminal. */
char *printable(const char *name);
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif /* XL_CMDS_H */
