/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The saves, restores and dumps of this process. */
#ifndef LIBXL_ALIGNED_OPERATION_H
#define LIBXL_ALIGNED_OPERATION_H

#include <sys/stat.h>
#include <xentoollog.h>

#include "common/partial.h"
#include "operation/domain_config.h"
#include "operation/handoff.h"
#include "operation/stream_plan.h"

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
    bool planned; /* if not, the helper runs without the library */
    struct stream_plan plan;
    struct handoff *page; /* NULL: cannot be watched or cancelled */
    int page_fd;
    struct publisher *publisher;
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
    char *identity; /* for plan.identity; the operation's from here on */
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
/* Sets the helper's plan.  -1: there are too many operations. */
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
/* Instead of operation_end(), if the caller does not see its end. */
void operation_abandon(struct operation *operation);
/* A helper with this fd gets no plan. */
void operation_forget(int fd);

/* By the thread that publishes it. */
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

/* ---- interrupt.c -------------------------------------------------------- */

/*
 * Between these, SIGINT, SIGTERM and SIGHUP cancel all interruptible
 * operations, if the program does not handle them itself.
 */
void interrupt_begin(void);
void interrupt_end(void);
/* In the child that becomes the helper. */
void interrupt_child(void);

#endif /* LIBXL_ALIGNED_OPERATION_H */
