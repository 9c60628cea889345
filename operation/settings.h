/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The settings, and all variables by which a command speaks to the plugin:
 * one table for the configuration file, the environment, the command line and
 * doctor.
 */
#ifndef XENSAVE_SETTINGS_H
#define XENSAVE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "xensave.h"

#define SETTINGS_PATH        "/etc/xen/xl-aligned.conf"
#define SETTINGS_FORMAT_AUTO (-1)

enum setting_id {
    SETTING_FORMAT,
    SETTING_IO,
    SETTING_ENGINE,
    SETTING_RESTORE_IO,
    SETTING_RESERVE,
    SETTING_COMPRESS,
    SETTINGS
};

struct settings {
    int format; /* enum xensave_format or SETTINGS_FORMAT_AUTO */
    enum xensave_io io;
    enum xensave_engine engine;
    enum xensave_io restore_io; /* never WINDOW */
    bool reserve;
    struct xensave_compression compression;
};

/* The variables; NULL: not set. */
struct environment {
    const char *format;
    const char *io;
    const char *engine;
    const char *restore_io;
    const char *reserve;
    const char *compress;
    const char *config;
    const char *dump_format;
    const char *dump_sparse;
    /* Set by a command for the xl that it starts: */
    const char *commit_name;
    const char *live;     /* whether the domain runs meanwhile: live.c */
    const char *progress; /* path of the progress page */
    const char *negotiated;
    const char *pipe; /* set: a pipe gets `format`, too */
    const char *peer; /* of a migration, for status */
};

extern const struct setting {
    const char *name;
    const char *variable;
    const char *words;    /* for messages */
    const char *standard; /* the default, as a word */
    size_t member;        /* of struct environment */
    int (*parse)(struct settings *settings, const char *value);
    const char *(*word)(const struct settings *settings);
} settings_table[SETTINGS];

/* NULL if there is none of that name. */
const struct setting *setting_find(const char *name, size_t length);

/*
 * The variables of this process that are not empty, none if it runs with
 * raised privileges; those of a command only if `command`.  The strings stay
 * when the variables go.
 */
void environment_read(struct environment *env, bool command);
/* The other direction; -1 with errno. */
int environment_write(const struct environment *env);
/* Removes the variables of a command, or all. */
void environment_unset(bool all);

void settings_default(struct settings *settings);
/*
 * Configuration file, then (if `env` is not NULL) the environment.  -1 and
 * one line in `why` if either is broken.  `minor`: of the Xen whose parser
 * is used.
 */
int settings_read(struct settings *settings, const struct environment *env,
                  int minor, char *why, size_t size);

#endif /* XENSAVE_SETTINGS_H */
