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
/* --force: the output may replace files that are not of its kind. */
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
/* Only checks whether the file may be written. */
int target_check(const char *name, const struct partial_kind *kind);
/* Whether `name` is the file that fd refers to. */
bool target_names(const char *name, int fd);
/* Whether FILE.partial has been renamed to FILE. */
bool target_is_renamed(const struct target *target);
/* Syncs the file and gives it its name; an exit status. */
int target_commit(struct target *target);
/* Removes FILE.partial. */
void target_abandon(struct target *target);
void target_close(struct target *target);

/* ---- which files a save file may replace ------------------------------- */

/* Only save files, and of other domains only incomplete ones. */
struct replace {
    char domain[CONFIG_TEXT_MAX]; /* that is saved; "": unknown */
    int in;                       /* a file that may replace itself, or -1 */
};

/* `domain`: a name or an id, as xl takes it. */
void replace_set_domain(struct replace *replace, const char *domain);
/* `replace` must outlive the result. */
struct partial_kind replace_kind(struct replace *replace, bool force);

#endif /* XL_CMDS_TARGET_H */
