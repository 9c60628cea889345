/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations under way, as they are told in xenstore: docs/spec/progress.md.
 * What the one who writes and the one who reads have in common; the store
 * itself is theirs to bring.
 */
#ifndef STREAM_V3_OPERATION_H
#define STREAM_V3_OPERATION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "progress.h"

#define V3_OPERATION_ROOT   "/local/domain/0/xl-aligned"
#define V3_OPERATION_NAME   64U     /* octets, NUL included */
#define V3_OPERATION_PATH   160U

/*
 * Memory to share, of zeros, and the path that leads to it while the fd is
 * open.  -1 with errno.  Beyond the end of what somebody shortens, a write
 * would be a SIGBUS; hence the seals.
 */
#define V3_SHARED_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
int v3_shared_open(const char *name, size_t length,
                   char path[V3_PROGRESS_PATH]);

/* ---- processes ---------------------------------------------------------- */

/* Never two of them that are alike until the host boots again. */
struct v3_process {
    pid_t pid;
    uint64_t start;
};

/* -1 if there is no such process, or /proc does not say. */
int v3_process_of(pid_t pid, struct v3_process *process);
/* Of "PID-START", or of an entry's "PID-START-NUMBER". */
int v3_process_parse(const char *text, struct v3_process *process);
/* Neither gone nor a zombie. */
bool v3_process_lives(const struct v3_process *process);
/*
 * Not another process that has got the same pid since.  Safe in a signal
 * handler; -1 with errno.
 */
int v3_process_signal(const struct v3_process *process, int signum);

/* ---- the store ---------------------------------------------------------- */

struct xs_handle;
struct xs_permissions;

/* libxenstore's functions, and a connection. */
struct v3_store {
    struct xs_handle *handle;
    struct xs_handle *(*open)(unsigned long flags);
    void (*close)(struct xs_handle *);
    char **(*directory)(struct xs_handle *, uint32_t, const char *,
                        unsigned int *);
    void *(*read)(struct xs_handle *, uint32_t, const char *,
                  unsigned int *);
    bool (*write)(struct xs_handle *, uint32_t, const char *, const void *,
                  unsigned int);
    bool (*mkdir)(struct xs_handle *, uint32_t, const char *);
    bool (*rm)(struct xs_handle *, uint32_t, const char *);
    bool (*set_permissions)(struct xs_handle *, uint32_t, const char *,
                            struct xs_permissions *, unsigned int);
    uint32_t (*transaction_start)(struct xs_handle *);
    bool (*transaction_end)(struct xs_handle *, uint32_t, bool abandon);
};

/* Fills the functions; the name of one that is missing, or NULL. */
const char *v3_store_find(struct v3_store *store,
                          void *(*find)(void *context, const char *name),
                          void *context);

/* Below the root, or any other absolute path: malloc'ed, NULL if absent. */
char *v3_store_get(struct v3_store *store, uint32_t transaction,
                   const char *path);
char *v3_operation_get(struct v3_store *store, uint32_t transaction,
                       const char *name, const char *key);

/* Whether nobody is left who would remove the entry. */
bool v3_operation_stale(struct v3_store *store, const char *name);
/*
 * Calls `each` for every entry, and removes those that are stale.  `stale`
 * (NULL: nobody wants to know) is called before that.
 */
void v3_operation_list(struct v3_store *store,
                       void (*each)(void *context, const char *name),
                       void (*stale)(void *context, const char *name),
                       void *context);

/* ---- control ------------------------------------------------------------ */

/* The save helper of a stream, in memory that it shares. */
struct v3_helper {
    _Atomic int32_t pid;        /* 0: none yet; -1: being written */
    _Atomic uint64_t start;
};

/* By the process itself: no lock, no memory. */
void v3_helper_enter(struct v3_helper *helper);
void v3_helper_get(const struct v3_helper *helper, struct v3_process *process);

/* In the page of struct v3_progress, behind it. */
struct v3_control {
    struct v3_helper helper;
    _Atomic uint32_t domid;
    _Atomic uint32_t cancelled; /* not 0: an end was asked for */
};

#define V3_DOMID_UNKNOWN    UINT32_MAX

static inline struct v3_control *v3_control(struct v3_progress *page)
{
    return (struct v3_control *)((char *)page + V3_PROGRESS_LENGTH / 2);
}

/* ---- figures ------------------------------------------------------------ */

const char *v3_phase_name(uint32_t phase);

/* Octets a second, smoothed. */
struct v3_rate {
    double at;              /* seconds */
    uint64_t done;
    double rate;
};

void v3_rate_begin(struct v3_rate *rate);
double v3_rate_sample(struct v3_rate *rate, uint64_t done);

#endif /* STREAM_V3_OPERATION_H */
