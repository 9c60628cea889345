/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The operations published in xenstore: docs/spec/progress.md. */
#ifndef XL_CMDS_OPERATIONS_H
#define XL_CMDS_OPERATIONS_H

#include "operation/xenstore.h"
#include "progress.h"

struct operation {
    char name[ENTRY_NAME];
    struct process owner;
    bool has_domid;
    uint32_t domid;
    char *domain; /* its name; these may be NULL */
    char *kind, *phase, *format, *file, *peer, *result;
    uint64_t bytes, total, written, rate, begun;
};

struct operations {
    struct operation *list;
    size_t count;
};

/* Loads this host's libxenstore; -1 after a report. */
int store_connect(struct store *store);

/* NULL if xenstore cannot be reached or the domain does not exist. */
char *domain_name_of(uint32_t domid);

/* Removes what a killed xl left behind, if possible; reports nothing. */
void operations_sweep(void);
/* Removes stale operations and reports them. */
void operations_read(struct store *store, struct operations *operations);
void operations_free(struct operations *operations);

void operation_figures(const struct operation *operation,
                       struct figures *figures);
/* "web01 (3)", "web01", "domain 3", "a domain". */
void operation_title(const struct operation *operation, char *title,
                     size_t size);

#endif /* XL_CMDS_OPERATIONS_H */
