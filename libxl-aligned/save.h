/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A save: suspend.c begins it, commit.c ends it. */
#ifndef LIBXL_ALIGNED_SAVE_H
#define LIBXL_ALIGNED_SAVE_H

#include "internal.h"

struct save {
    struct operation *operation;
    uint64_t libxl_offset;
    enum xensave_format planned;
    bool stock;     /* the stream library is not used */
    bool preloaded; /* the toolstack keeps the file of a failed save */
    bool resumes;   /* resume the domain after a failure */
    libxl_ctx *ctx;
    uint32_t domid;
    const char *format; /* for status */
    char *commit_name;  /* NULL: the file keeps its name */
    xentoollog_logger *lg;
    struct save *next;
};

/* Reports errno of `what`; ERROR_FAIL. */
int save_fail(const struct save *save, const char *what);
/*
 * `rc` is the result of libxl_domain_suspend, or why it was not called.  The
 * toolstack may destroy the domain only if this returns 0.
 */
int save_end(struct save *save, int rc);

#endif /* LIBXL_ALIGNED_SAVE_H */
