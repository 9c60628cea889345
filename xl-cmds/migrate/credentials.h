/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What peers are known by: certificates, and the lists of --allow. */
#ifndef XL_CMDS_CREDENTIALS_H
#define XL_CMDS_CREDENTIALS_H

#include "xl-cmds/xl.h"

struct listener;

/* An entry that can match a certificate; another is reported, by `where`. */
void allow_add(struct arguments *list, const char *where, const char *entry);
/* The entries of a file: a status. */
int allow_read(struct arguments *list, const char *name);

/* Reads certificates, revocations and lists, all or none.  A status. */
int credentials_load(struct listener *listener);
/* If the revocations have changed; whatever fails leaves the old ones. */
void credentials_refresh(struct listener *listener);

#endif /* XL_CMDS_CREDENTIALS_H */
