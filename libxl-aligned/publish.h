/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An operation in xenstore: docs/spec/progress.md. */
#ifndef LIBXL_ALIGNED_PUBLISH_H
#define LIBXL_ALIGNED_PUBLISH_H

#include "operation.h"

struct publish_text {
    const char *kind, *domain, *format, *file, *peer; /* NULL: not known */
};

struct publisher;
/* NULL: there is no xenstore. */
struct publisher *publish_begin(struct operation *operation,
                                const struct publish_text *text);
/*
 * `file`: where the file is if it has moved, or NULL.  False: xenstore does
 * not answer, and the thread still uses the operation.
 */
bool publish_end(struct publisher *publisher, const char *result,
                 const char *file);

#endif /* LIBXL_ALIGNED_PUBLISH_H */
