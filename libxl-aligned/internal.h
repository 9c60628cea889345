/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the toolstack-side library share. */
#ifndef LIBXL_ALIGNED_INTERNAL_H
#define LIBXL_ALIGNED_INTERNAL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "common/fd.h"
#include "common/partial.h"
#include "libxl-aligned.h"
#include "operation/domain_config.h"
#include "operation/handoff.h"
#include "operation/operation.h"
#include "operation/settings.h"
#include "operation/stream_plan.h"

#define EXPORT __attribute__((visibility("default")))

/* ---- preload.c: what the environment said when the library was loaded --- */

extern struct environment environment;
/* Path of this library; "" if it cannot be told. */
extern char own_path[PATH_MAX];
/* libxenlight was not there yet: a daemon that loads it, as libvirt's do. */
extern bool libxl_came_late;

/* ---- options.c ---------------------------------------------------------- */

/* As settings_read(); the defaults after an error. */
int options_read(xl_aligned_options *opts, const struct environment *env,
                 int minor, char *why, size_t size);

/* ---- report.c ----------------------------------------------------------- */

void report(xentoollog_logger *lg, xentoollog_level level, const char *fmt,
            ...) __attribute__((format(printf, 3, 4)));

/* ---- real.c: libxl's own functions, in whatever version is there -------- */

struct real {
    int (*suspend)(libxl_ctx *, uint32_t, int, int, const libxl_asyncop_how *);
    int (*create_restore)(libxl_ctx *, libxl_domain_config *, uint32_t *, int,
                          int, const libxl_domain_restore_params *,
                          const libxl_asyncop_how *,
                          const libxl_asyncprogress_how *);
    int (*resume)(libxl_ctx *, uint32_t, int, const libxl_asyncop_how *);
    int (*domain_info)(libxl_ctx *, libxl_dominfo *, uint32_t);
    void (*dominfo_init)(libxl_dominfo *);
    void (*dominfo_dispose)(libxl_dominfo *);
    char *(*config_to_json)(libxl_ctx *, libxl_domain_config *);
    int minor; /* N of libxenlight.so.4.N; -1: not known */
};

/* A function of the program's own libraries, or NULL. */
void *real_symbol(const char *name);
/* Fills what it finds.  `why` (one line) is set if something is amiss. */
void real_find(struct real *real, char *why, size_t size);

/* ---- runtime.c: whether this library can do its work in this process ---- */

struct runtime {
    struct real real;
    xl_aligned_options opts; /* of the preloaded library */
    char helper_library[PATH_MAX];
    char why[512]; /* "" if all is well */
};

/* Found out on first use, by the process that saves or restores. */
const struct runtime *runtime_get(void);
/* Whether it can; the first time that it cannot, says why. */
bool runtime_usable(const struct runtime *runtime, xentoollog_logger *lg);

/* ---- dominfo.c ---------------------------------------------------------- */

struct domain_facts {
    uint64_t memory; /* bytes */
    bool suspended;
    bool pv;
};

/* libxl's error; the facts are all zero then. */
int domain_facts(const struct real *real, libxl_ctx *ctx, uint32_t domid,
                 struct domain_facts *facts);

/* What a domain is to be built from; empty if libxl does not say. */
void domain_config(const struct real *real, libxl_ctx *ctx,
                   libxl_domain_config *d_config,
                   struct domain_config *config);

/* ---- exec.c ------------------------------------------------------------- */

/*
 * execvp with `library` preloaded; `stream` is STREAM_VARIABLE=...  For
 * a forked child: no lock, no memory.
 */
int exec_with_library(const char *file, char *const argv[], char *stream,
                      const char *library);

/* ---- helper.c ----------------------------------------------------------- */

/*
 * Whether the save helper, started as libxl starts it, loads the stream
 * library.  -1 and one line in `why` if it does not; what cannot be found
 * out counts as yes.
 */
int helper_try(const struct runtime *runtime, char *why, size_t size);

/* ---- resume.c ----------------------------------------------------------- */

/*
 * Whether `domid`, which is about to be saved, is to be resumed here if that
 * fails: the program will not, and the domain does run.
 */
bool resume_is_ours(const struct real *real, libxl_ctx *ctx, uint32_t domid);
/* Resumes it if it is suspended. */
void resume_domain(const struct real *real, libxl_ctx *ctx, uint32_t domid,
                   xentoollog_logger *lg);

/* ---- death.c ------------------------------------------------------------ */

/* After a suspension that was undone: its end will be reported again. */
void death_renew(libxl_ctx *ctx, uint32_t domid);

/* ---- rescue.c ----------------------------------------------------------- */

/*
 * After a failed restore: if the file behind `fd` has no name any more, its
 * contents get their old name back, or one beside it.  Where they are now
 * (malloc), or NULL: the file has not moved.
 */
char *rescue_file(int fd, xentoollog_logger *lg);

/* ---- reserve.c ---------------------------------------------------------- */

/*
 * Allocates space for the memory of `domid`, in this format, from `offset`
 * on.  ERROR_FAIL if
 * there is too little.  `fd` must be open for writing.
 */
int reserve_space(const struct real *real, libxl_ctx *ctx, uint32_t domid,
                  int fd, const struct stat *st, uint64_t offset,
                  enum xensave_format format, xentoollog_logger *lg);

/* ---- interrupt.c -------------------------------------------------------- */

/*
 * While a save runs in a program that does not catch SIGINT, SIGTERM and
 * SIGHUP itself: they cancel all of its saves and do not end the program, so
 * that it resumes the domains.
 */
void interrupt_begin(void);
void interrupt_end(void);
/* In the child that becomes the helper. */
void interrupt_child(void);

/* ---- operation.c -------------------------------------------------------- */

/* One save, restore or dump, from before its helper starts to its end. */
struct operation {
    int fd;               /* of the stream; -1: none */
    struct stat st;       /* of fd */
    struct partial place; /* of a regular file that is saved to */
    char *name;       /* of the file, the final one if it is known; or NULL */
    int file;         /* the same file, for reading and writing, or -1 */
    const char *kind; /* docs/spec/progress.md */
    bool restore;
    bool interruptible; /* by a signal to this program */
    bool entered;       /* helpers find it */
    bool orphan;        /* its end is not seen */
    uint64_t age;
    bool planned; /* otherwise the helper is stock's */
    struct stream_plan plan;
    struct handoff *page; /* NULL: cannot be watched or cancelled */
    int page_fd;
    struct entry *entry;
    char domain[CONFIG_TEXT_MAX];
    char *format;
    char *moved; /* where the file is now, if it moved */
};

struct operation_info {
    const char *kind;
    uint32_t domid;     /* or DOMID_UNKNOWN */
    uint64_t total;     /* bytes of memory; 0: not known */
    const char *format; /* NULL: not known */
    const char *file;   /* the name that it will have; NULL: that of fd */
    char domain[CONFIG_TEXT_MAX]; /* its name while it has no domid, or "" */
};

struct operation_sample {
    uint32_t domid, phase;
    uint64_t total, done, written;
};

static inline bool operation_is_stream(const struct operation *operation)
{
    return S_ISFIFO(operation->st.st_mode) || S_ISSOCK(operation->st.st_mode);
}

/* Takes the place of an earlier one with this fd.  NULL with errno. */
struct operation *operation_new(int fd, bool restore);
/* Fills `file`; -1 with errno. */
int operation_open_file(struct operation *operation);
/* What its helper does.  -1: there are too many operations. */
int operation_plan(struct operation *operation,
                   const struct stream_plan *plan);
/* From here on it can be watched and cancelled. */
void operation_publish(struct operation *operation,
                       const struct operation_info *info);
/* These two take NULL. */
void operation_phase(struct operation *operation, uint32_t phase);
void operation_done(struct operation *operation, uint64_t bytes);
/* Its file is now `path` (malloc, the operation's from here on; or NULL). */
void operation_moved(struct operation *operation, char *path);
bool operation_cancelled(const struct operation *operation);
/* Frees it (NULL: does nothing); `rc` not 0: it has failed. */
void operation_end(struct operation *operation, int rc, xentoollog_logger *lg);
/* Instead: it runs on, and the caller will not see its end. */
void operation_abandon(struct operation *operation);
/* A helper with this fd gets no plan. */
void operation_forget(int fd);

/* From the thread of the entry. */
void operation_sample(const struct operation *operation,
                      struct operation_sample *sample);
void operation_cancel(struct operation *operation);
/* From a signal handler. */
void operation_cancel_interruptible(void);
/*
 * In the child that becomes a helper; takes no lock and allocates nothing.
 * NULL: it is left to stock.
 */
const struct stream_plan *operation_child(int fd, bool restore,
                                          uint32_t domid);

/* ---- entry.c ------------------------------------------------------------ */

struct entry_text {
    const char *kind, *domain, *format, *file, *peer; /* NULL: not told */
};

struct entry;
/* NULL: there is no xenstore. */
struct entry *entry_begin(struct operation *operation,
                          const struct entry_text *text);
/*
 * `file` NULL: it is where it was.  False: xenstore does not answer, and what
 * it was given stays in use.
 */
bool entry_end(struct entry *entry, const char *result, const char *file);

/* ---- live.c ------------------------------------------------------------- */

/*
 * The flags of a save or migration, with LIBXL_SUSPEND_LIVE if the domain is
 * to run meanwhile and Xen can do it.
 */
int live_flags(const struct real *real, libxl_ctx *ctx, uint32_t domid,
               int flags, xentoollog_logger *lg);

/* ---- negotiated.c ------------------------------------------------------- */

/*
 * Format and compression of a stream whose receiver a transport has asked; V2
 * if in doubt.
 */
void negotiated_stream(struct stream_plan *stream, xentoollog_logger *lg);

/* ---- watch.c ------------------------------------------------------------ */

struct watch;
/*
 * Tells whoever started a migration when the domain was suspended.  NULL:
 * nobody wants to know, or it cannot be done.
 */
struct watch *watch_begin(const struct real *real, libxl_ctx *ctx,
                          uint32_t domid);
void watch_end(struct watch *watch);

/* ---- suspend.c, restore.c ----------------------------------------------- */

int suspend_domain(libxl_ctx *ctx, uint32_t domid, int fd, int flags,
                   const xl_aligned_options *opts, bool preloaded,
                   const libxl_asyncop_how *ao_how);
int restore_domain(libxl_ctx *ctx, libxl_domain_config *d_config,
                   uint32_t *domid, int restore_fd, int send_back_fd,
                   const libxl_domain_restore_params *params,
                   const xl_aligned_options *opts,
                   const libxl_asyncop_how *ao_how,
                   const libxl_asyncprogress_how *aop_console_how);

#endif /* LIBXL_ALIGNED_INTERNAL_H */
