/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a save is of: ALIGNED_IDENTITY, docs/spec/stream-v3.md 3.7. */
#ifndef LIBXL_ALIGNED_IDENTITY_H
#define LIBXL_ALIGNED_IDENTITY_H

#include "dominfo.h"

/*
 * Lines "key=value" of what can be found out, to be freed; NULL if memory is
 * out.  `kind` is the value of that key, `info` all zero where it is unknown.
 */
char *identity_lines(libxl_ctx *ctx, uint32_t domid,
                     const struct dominfo *info, const char *kind);

#endif /* LIBXL_ALIGNED_IDENTITY_H */
