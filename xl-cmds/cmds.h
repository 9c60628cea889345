/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the subcommands of xl-aligned share.  A subcommand is one struct
 * command in one file; main.c holds the table of them.
 */
#ifndef XL_CMDS_H
#define XL_CMDS_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit statuses; 130, 143 and xl's own are passed through as well. */
#define STATUS_OK     0
#define STATUS_FAILED 1
#define STATUS_USAGE  2 /* also: cannot be told */
#define STATUS_NO_XL  127

struct command {
    const char *name;
    const char *arguments;     /* for the synopsis */
    const char *summary;       /* one line, for the list of commands */
    bool internal;             /* not in that list: run by other commands */
    const char *details;       /* for --help: options, one a line */
    const char *short_options; /* getopt's; --help and -h come by itself */
    const struct option *long_options;
    int (*run)(const struct command *self, int argc, char **argv);
};

/* Long options without a letter take values from here on. */
#define OPTION_LONG 256
#define HELP_OPTION                     \
    { "help", no_argument, NULL, 'h' }, \
    {                                   \
        0                               \
    }

/* --compress, of the commands that have it. */
#define COMPRESS_HELP                                                        \
    "  --compress=HOW         v3: none lz4 zstd lz4:LEVEL zstd:LEVEL (1 to " \
    "12, 19)\n"
/* Of those that a guest waits for. */
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
 * The next option as getopt_long() gives it, -1 after the last.  OPTION_DONE:
 * the command is over (help was printed, or a usage error) and returns
 * *status.
 */
#define OPTION_DONE (-2)
int command_option(const struct command *self, int argc, char **argv,
                   int *status);
/*
 * "-" is the standard input of what reads a file, and both of convert; other
 * commands need a name.  0, or STATUS_USAGE after a report with what to name
 * `instead`.
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
 * One line on stdout.  Here and below: what is in the text besides, it stays
 * one line that is fit for a terminal (common/text.h).
 */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* One line on stderr, "xl-aligned: " before it. */
void report(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same; `name` comes first unless the text names the file already. */
void report_about(const char *name, const char *text);

/* memory.c: these end the program where memory is out. */
void *xrealloc(void *pointer, size_t length);
char *xstrdup(const char *string);
/* A name, fit for a terminal. */
char *printable(const char *name);
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif /* XL_CMDS_H */
