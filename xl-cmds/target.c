/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "core/core.h"
#include "target.h"

const struct partial_kind target_core = { .what = "core", .look = core_look };

static int refuse(const struct target *target)
{
    report("%s: %s", target->given, target->file.reason);
    return STATUS_FAILED;
}

bool target_names(const char *name, int fd)
{
    struct stat named, opened;

    return stat(name, &named) == 0 && fstat(fd, &opened) == 0 &&
           stat_same(&named, &opened);
}

static char *absolute(const struct partial *file, const char *base)
{
    char path[PARTIAL_PATH];

    partial_path(file, base, path);
    return xstrdup(path);
}

int target_open(struct target *target, const char *name,
                const struct partial_kind *kind)
{
    struct partial *file = &target->file;

    target->given = name;
    target->final = target->partial = NULL;
    if (partial_open(file, name, kind))
        return refuse(target);
    if (!file->in_place) {
        target->final = absolute(file, file->base);
        target->partial = absolute(file, file->temporary);
    }
    if (file->removed)
        report("removed %s, which an earlier run had left unfinished",
               target->partial);
    fd_path(file->fd, target->path);
    return STATUS_OK;
}

int target_check(const char *name, const struct partial_kind *kind)
{
    struct target target = { .given = name };

    if (partial_look(&target.file, name, kind))
        return refuse(&target);
    target_close(&target);
    return STATUS_OK;
}

bool target_is_renamed(const struct target *target)
{
    return target->final && partial_is(&target->file, target->file.base);
}

int target_commit(struct target *target)
{
    if (!target->final || target_is_renamed(target))
        return STATUS_OK;
    return partial_commit(&target->file) ? refuse(target) : STATUS_OK;
}

void target_abandon(struct target *target)
{
    partial_discard(&target->file);
}

void target_close(struct target *target)
{
    partial_close(&target->file);
    free(target->final);
    free(target->partial);
    *target = (struct target)TARGET_INIT;
}
