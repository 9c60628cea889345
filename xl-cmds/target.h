/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The output of a command: common/partial, with reports. */
#ifndef XL_CMDS_TARGET_H
#define XL_CMDS_TARGET_H

#include "operation/domain_config.h"
#include "cmds.h"
#include "common/fd.h"
#include "common/partial.h"

struct target {
    const char *given; /* as the user named it */
    char *final;       /* absolute; NULL if written in place */
    char *partial;     /* absolute */
    struct partial file;
    char path[FD_PATH]; /* opens the same file here and in children */
};

#define TARGET_INIT          \
    {                        \
        .file = PARTIAL_INIT \
    }

extern const struct partial_kind target_core;
/* --force: the output may replace what it is not. */
enum { OPTION_FORCE = OPTION_LONG + 200 };
#define FORCE_OPTION                             \
    {                                            \
        "force", no_argument, NULL, OPTION_FORCE \
    }
#define FORCE_HELP(what) \
    "  --force                replace a file that is not " what "\n"

/* 0, or an exit status after a report. */
int target_open(struct target *target, const char *name,
                const struct partial_kind *kind);
/* Only says whether the file may be written. */
int target_check(const char *name, const struct partial_kind *kind);
/* The file of that name is what fd refers to. */
bool target_names(const char *name, int fd);
/* FILE.partial has become FILE already. */
bool target_is_renamed(const struct target *target);
/* Puts the file on stable storage under its name; exit status. */
int target_commit(struct target *target);
/* Removes FILE.partial. */
void target_abandon(struct target *target);
void target_close(struct target *target);

/* ---- which files a save file may replace ------------------------------- */

/* None that is something else, and of other domains none that is whole. */
struct replace {
    char domain[CONFIG_TEXT_MAX]; /* that is saved; "": not known */
    int in;                       /* a file that may replace itself, or -1 */
};

/* `domain`: a name or an id, as xl takes it. */
void replace_set_domain(struct replace *replace, const char *domain);
/* `replace` must live as long as what is returned. */
struct partial_kind replace_kind(struct replace *replace, bool force);

#endif /* XL_CMDS_TARGET_H */
