/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of a save; suspend.c calls them in this order. */
#ifndef LIBXL_ALIGNED_SAVE_H
#define LIBXL_ALIGNED_SAVE_H

#include "dominfo.h"
#include "operation.h"
#include "report.h"
#include "runtime.h"

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

/*
 * live.c: the flags of a save or migration, with LIBXL_SUSPEND_LIVE if the
 * domain is to run meanwhile and Xen supports that.
 */
int live_flags(const struct real *real, libxl_ctx *ctx, uint32_t domid,
               int flags, xentoollog_logger *lg);

/*
 * negotiated.c: format and compression that the receiver of a migration has
 * agreed to; v2 if in doubt.
 */
void negotiated_stream(struct stream_plan *stream, xentoollog_logger *lg);

/*
 * reserve.c: allocates space from `offset` on for the memory of `domid` in
 * this format.  ERROR_FAIL if there is too little.  `fd` is open for writing.
 */
int reserve_space(const struct real *real, libxl_ctx *ctx, uint32_t domid,
                  int fd, const struct stat *st, uint64_t offset,
                  enum xensave_format format, xentoollog_logger *lg);

/*
 * resume.c: whether the domain has to be resumed here if its save fails: it
 * is running, and the program does not do it.
 */
bool resume_is_ours(const struct real *real, libxl_ctx *ctx, uint32_t domid);
/* Resumes the domain if it is suspended. */
void resume_domain(const struct real *real, libxl_ctx *ctx, uint32_t domid,
                   xentoollog_logger *lg);

/*
 * downtime.c: records when the domain is suspended, for the command that
 * migrates it.  NULL: no command asked for it, or it is not possible.
 */
struct downtime;
struct downtime *downtime_begin(const struct real *real, libxl_ctx *ctx,
                                uint32_t domid);
void downtime_end(struct downtime *downtime);

/* commit.c: reports errno of `what` and returns ERROR_FAIL. */
int save_fail(const struct save *save, const char *what);
/*
 * `rc` is the result of libxl_domain_suspend, or why it was not called.  The
 * toolstack may destroy the domain only if this returns 0.
 */
int save_end(struct save *save, int rc);

#endif /* LIBXL_ALIGNED_SAVE_H */
