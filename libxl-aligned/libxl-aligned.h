/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libxl-aligned: save and restore of Xen domains without dom0's page cache.
 *
 * Preloaded into a toolstack (LD_PRELOAD), this library takes the place of
 * libxl_domain_suspend and libxl_domain_create_restore.  A toolstack that
 * would rather ask for it calls the functions below.  Both need the library
 * in the global symbol scope ahead of libc: preload it, or link the program
 * itself (not a module that it opens later) with -lxl-aligned.  Where that is
 * not so, everything falls back to libxl's own path with one warning.
 *
 * Return values are libxl's: 0 or an ERROR_*.  Lengths and offsets are in
 * bytes.  The caller owns every fd, which must stay open until the function
 * returns (asynchronous calls: until the completion).  Calls for different
 * domains may run in several threads at once.
 */
#ifndef LIBXL_ALIGNED_H
#define LIBXL_ALIGNED_H

#include <libxl.h>

#include "xensave.h"

#ifdef __cplusplus
extern "C" {
#endif

/* v3 for regular files and block devices, v2 for pipes and sockets. */
#define XL_ALIGNED_FORMAT_AUTO (-1)

typedef struct xl_aligned_options {
    int format;         /* enum xensave_format or XL_ALIGNED_FORMAT_AUTO */
    bool any_reader;    /* use `format` for pipes and sockets too: the
                             * reader is known to support it */
    enum xensave_io io; /* of saves */
    enum xensave_io restore_io; /* WINDOW counts as AUTO */
    enum xensave_engine engine;
    struct xensave_compression
        compression;       /* of v3 files and streams; the other
                                         * formats have none */
    bool reserve;          /* allocate the space before the domain is
                             * suspended; refuse if there is too little */
    char *commit_name;     /* saves: rename the file to this absolute path,
                             * in the same folder, when it is whole; NULL for
                             * none */
    xentoollog_logger *lg; /* messages; NULL for stderr; the caller's */
} xl_aligned_options;

/*
 * Defaults, as /etc/xen/xl-aligned.conf changes them.  ERROR_INVAL if that
 * file is broken; the options are then the defaults.  `commit_name` is the
 * options': malloc'ed, freed by dispose.
 */
int xl_aligned_options_init(xl_aligned_options *opts, xentoollog_logger *lg);
void xl_aligned_options_dispose(xl_aligned_options *opts);

/*
 * libxl_domain_suspend, from the current offset of `fd`.  `opts` NULL: the
 * defaults.
 *
 * With ao_how NULL, success means that the file is whole on stable storage
 * and has its final name: the domain may be destroyed.  On any error the
 * domain is to be resumed, as after an error of libxl_domain_suspend; a file
 * with a `commit_name` has then been removed, and one of that name from
 * before is untouched.
 *
 * With ao_how set, the file is not whole when the operation completes: the
 * caller then passes the operation's result to xl_aligned_suspend_complete
 * and goes by what that returns.
 */
int xl_aligned_domain_suspend(libxl_ctx *ctx, uint32_t domid, int fd,
                              int flags, /* LIBXL_SUSPEND_* */
                              const xl_aligned_options *opts,
                              const libxl_asyncop_how *ao_how);
/* `result`: of the asynchronous operation that saved to `fd`. */
int xl_aligned_suspend_complete(int fd, int result);

/*
 * libxl_domain_create_restore, from the current offset of `restore_fd`, in
 * any format.  A v3 file that is not whole or needs an unknown feature is
 * refused with ERROR_FAIL before a domain exists.
 */
int xl_aligned_domain_create_restore(
    libxl_ctx *ctx, libxl_domain_config *d_config, uint32_t *domid,
    int restore_fd, int send_back_fd,
    const libxl_domain_restore_params *params, const xl_aligned_options *opts,
    const libxl_asyncop_how *ao_how,
    const libxl_asyncprogress_how *aop_console_how);

/*
 * What the save file behind `fd` is, and whether xl_aligned_domain_
 * create_restore would take it: 0, or ERROR_FAIL with `error` filled.
 * `libxl_offset`: where the libxl header lies, UINT64_MAX to find it behind
 * xl's own header.  The offset of `fd` does not move.
 */
int xl_aligned_probe(int fd, uint64_t libxl_offset,
                     struct xensave_file *savefile,
                     struct xensave_error *error);

#ifdef __cplusplus
}
#endif

#endif /* LIBXL_ALIGNED_H */
