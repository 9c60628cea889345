/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a save goes.  A regular file is written under the name FILE.partial
 * and renamed when it is whole; devices, pipes and the like are written as
 * they are.  Whoever can write to the directory cannot make this program
 * write anywhere else: every name is looked up once, below an open directory.
 */
#ifndef XL_CMDS_TARGET_H
#define XL_CMDS_TARGET_H

#include <sys/stat.h>

#include "cmds.h"

struct target {
    const char *given;      /* as the user named it */
    char *final;            /* absolute; NULL if written directly */
    char *partial;          /* absolute */
    char *base;             /* their last components */
    char *partial_base;
    int dirfd;
    int fd;                 /* of FILE.partial, read-write; else O_PATH */
    struct stat st;         /* of what fd refers to */
    char path[64];          /* opens the same file while this process lives */
};

/* 0, or an exit status after a report. */
int target_open(struct target *target, const char *name);
/* The file of that name is what fd refers to. */
bool target_names(const char *name, int fd);
/* FILE.partial has become FILE already. */
bool target_is_renamed(const struct target *target);
/* Puts the file on stable storage under its name; exit status. */
int target_commit(struct target *target);
/* Removes FILE.partial. */
void target_abandon(struct target *target);
/* A fatal signal removes FILE.partial of this target as well. */
void target_abandon_on_signal(struct target *target);
void target_close(struct target *target);

#endif /* XL_CMDS_TARGET_H */
