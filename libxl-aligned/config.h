/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The settings, as the plugin takes them; xl-aligned doctor asks here, too. */
#ifndef XL_ALIGNED_CONFIG_H
#define XL_ALIGNED_CONFIG_H

#include "libxl-aligned.h"

#define CONFIG_PATH "/etc/xen/xl-aligned.conf"

struct environment {
    char *format; /* any of these NULL: not set */
    char *io;
    char *engine;
    char *restore_io;
    char *reserve;
    char *compress;
    char *commit_name;
    char *config;
    char *live;     /* whether it is to run meanwhile: live.c */
    char *progress; /* file to tell how far a save is */
    char *negotiated;
    char *pipe; /* set: a pipe gets the format that is asked for */
    char *peer; /* of a migration, to be told to others */
};

/* The variables of the settings, as `get` has them. */
void environment_settings(struct environment *env,
                          char *(*get)(const char *name));
/* Whether there is a setting of that name. */
bool options_know(const char *name, size_t length);

void options_default(xl_aligned_options *opts);
/*
 * Configuration file, then (if `env` is not NULL) the environment.  -1 and
 * one line in `why` if either is broken.  `minor`: Xen's, whose parser it is.
 */
int options_read(xl_aligned_options *opts, const struct environment *env,
                 int minor, char *why, size_t size);

#endif /* XL_ALIGNED_CONFIG_H */
