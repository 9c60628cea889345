/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which files a save file may replace: none that is something else, and of
 * other domains none that could be restored.
 */
#ifndef XL_CMDS_REPLACE_H
#define XL_CMDS_REPLACE_H

#include "operation/domain_config.h"
#include "target.h"

struct replace {
    char domain[CONFIG_TEXT_MAX]; /* that is saved; "": not known */
    int in;                       /* a file that may replace itself, or -1 */
};

/* `domain`: a name or an id, as xl takes it. */
void replace_set_domain(struct replace *replace, const char *domain);
/* `replace` must live as long as what is returned. */
struct partial_kind replace_kind(struct replace *replace, bool force);

#endif /* XL_CMDS_REPLACE_H */
