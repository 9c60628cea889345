/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "entries.h"
#include "replace.h"
#include "savefile.h"

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
    struct config config = { 0 };
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
                                    : ", and the name of the domain to "
                                      "be saved is not known");
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
