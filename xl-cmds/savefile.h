/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A save file, opened for reading. */
#ifndef XL_CMDS_SAVEFILE_H
#define XL_CMDS_SAVEFILE_H

#include "xensave.h"

#include "cmds.h"
#include "operation/domain_config.h"
#include "common/partial.h"

struct savefile {
    const char *name;
    int fd;
    struct xensave_file probed;
    struct xensave_error error; /* why it could not be opened or probed */
    bool opened;                /* only its contents are at fault */
};

/*
 * Opens and probes a regular file or block device, also as "-", whatever toolstack wrote
 * its head.  -1: file->error says why; nothing is left open.
 */
int savefile_open(struct savefile *file, const char *name);
/* The same for an fd that the file then owns. */
int savefile_attach(struct savefile *file, const char *name, int fd);
void savefile_close(struct savefile *file);

/* What xl stored of the domain's configuration, as far as it can be had. */
void savefile_config(const struct savefile *file,
                     struct domain_config *config);
/*
 * Whether a save was cut short, by the records' lengths and the header's
 * state; no page is read.
 */
enum partial_contents savefile_look(int fd);

#endif /* XL_CMDS_SAVEFILE_H */
