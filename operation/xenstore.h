/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations under way, as they are told in xenstore: docs/spec/progress.md.
 * What the one who writes and the one who reads have in common; the store
 * itself is theirs to bring.
 */
#ifndef XENSAVE_XENSTORE_H
#define XENSAVE_XENSTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ENTRY_ROOT "/local/domain/0/xl-aligned"
#define ENTRY_NAME 64U /* bytes, NUL included */
#define ENTRY_PATH 160U

/* ---- processes ---------------------------------------------------------- */

/* Never two of them that are alike until the host boots again. */
struct process {
    pid_t pid;
    uint64_t start;
};

/* -1 if there is no such process, or /proc does not say. */
int process_of(pid_t pid, struct process *process);
/* Of "PID-START", or of an entry's "PID-START-NUMBER". */
int process_parse(const char *text, struct process *process);
/* Neither gone nor a zombie. */
bool process_lives(const struct process *process);
/*
 * Not another process that has got the same pid since.  Safe in a signal
 * handler; -1 with errno.
 */
int process_signal(const struct process *process, int signum);

/* ---- the store ---------------------------------------------------------- */

struct xs_handle;
struct xs_permissions;

/* libxenstore's functions, and a connection. */
struct store {
    struct xs_handle *handle;
    struct xs_handle *(*open)(unsigned long flags);
    void (*close)(struct xs_handle *);
    char **(*directory)(struct xs_handle *, uint32_t, const char *,
                        unsigned int *);
    void *(*read)(struct xs_handle *, uint32_t, const char *, unsigned int *);
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
const char *store_find(struct store *store,
                       void *(*find)(void *context, const char *name),
                       void *context);

/* Below the root, or any other absolute path: malloc'ed, NULL if absent. */
char *store_get(struct store *store, uint32_t transaction, const char *path);
char *entry_get(struct store *store, uint32_t transaction, const char *name,
                const char *key);

/* Whether nobody is left who would remove the entry. */
bool entry_stale(struct store *store, const char *name);
/*
 * Calls `each` for every entry, and removes those that are stale.  `stale`
 * (NULL: nobody wants to know) is called before that.
 */
void entry_list(struct store *store,
                void (*each)(void *context, const char *name),
                void (*stale)(void *context, const char *name), void *context);

/* ---- figures ------------------------------------------------------------ */

const char *phase_name(uint32_t phase);

/* Bytes a second, smoothed. */
struct rate {
    double at; /* seconds */
    uint64_t done;
    double rate;
};

void rate_begin(struct rate *rate);
double rate_sample(struct rate *rate, uint64_t done);

#endif /* XENSAVE_XENSTORE_H */
