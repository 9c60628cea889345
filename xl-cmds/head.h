/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What lies before the stream, held in memory on its way. */
#ifndef XL_CMDS_HEAD_H
#define XL_CMDS_HEAD_H

#include "operation/domain_config.h"
#include "stream-v3/savefile/savefile.h"

struct head {
    struct xensave_bytes bytes; /* first: of these */
    struct xensave_source *source;
    unsigned char *data;
    size_t length, room;
    struct xensave_file file; /* of the head only: up to stream_start */
};

/*
 * Reads up to the stream and not a byte further; -1 and `error` if no libxl
 * header comes.
 */
int head_read(struct head *head, struct xensave_source *source,
              struct xensave_error *error);
/*
 * Takes the padding of compat away, so that the head is what xl wrote; -1 and
 * `error` if there is no such padding.
 */
int head_strip_padding(struct head *head, uint32_t padding,
                       struct xensave_error *error);
/* The configuration that xl stored in it, as far as there is one. */
void head_config(const struct head *head, struct domain_config *config);
void head_free(struct head *head);

#endif /* XL_CMDS_HEAD_H */
