/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/core.h"
#include "operations.h"
#include "savefile.h"
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
        report("removed %s, left unfinished by an earlier run",
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

/* ---- which files a save file may replace ------------------------------- */

void replace_set_domain(struct replace *replace, const char *domain)
{
    char *name = NULL;

    if (*domain && !domain[strspn(domain, "0123456789")]) {
        name = domain_name_of(strtoul(domain, NULL, 10));
        domain = name ? name : "";
    }
    snprintf(replace->domain, sizeof(replace->domain), "%s", domain);
    free(name);
}

static bool may_go(int fd, void *context, char *why, size_t size)
{
    const struct replace *replace = context;
    struct domain_config config = { 0 };
    struct savefile file;
    struct stat old, in;

    if (replace->in >= 0 && !fstat(fd, &old) && !fstat(replace->in, &in) &&
        stat_same(&old, &in))
        return true;
    if (!savefile_attach(&file, "", dup(fd)))
        savefile_config(&file, &config);
    savefile_close(&file);
    if (config.name[0] && strcmp(config.name, replace->domain) == 0)
        return true;
    if (config.name[0])
        snprintf(why, size, "is a save file of domain %s%s", config.name,
                 replace->domain[0] ? ""
                                    : ", and the name of the domain to be "
                                      "saved is unknown");
    else
        snprintf(why, size, "is a save file that does not name its domain");
    return false;
}

struct partial_kind replace_kind(struct replace *replace, bool force)
{
    return (struct partial_kind){
        .what = "save file",
        .look = savefile_look,
        .may_go = may_go,
        .context = replace,
        .force = force,
    };
}
