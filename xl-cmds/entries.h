/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The operations that are told in xenstore: docs/spec/progress.md. */
#ifndef XL_CMDS_ENTRIES_H
#define XL_CMDS_ENTRIES_H

#include "operation/operation.h"
#include "bar.h"
#include "cmds.h"

struct entry {
    char name[ENTRY_NAME];
    struct process owner;
    bool has_domid;
    uint32_t domid;
    char *domain; /* its name; these may be NULL */
    char *operation, *phase, *format, *file, *peer, *result;
    uint64_t bytes, total, written, rate, begun;
};

struct entries {
    struct entry *list;
    size_t count;
};

/* With libxenstore as this host has it; -1 after a report. */
int store_connect(struct store *store);

/* NULL: xenstore cannot be asked, or there is no such domain. */
char *domain_name_of(uint32_t domid);

/* Removes what a killed xl has left, if that can be done; says nothing. */
void entries_sweep(void);
/* Removes stale entries, and reports it. */
void entries_read(struct store *store, struct entries *entries);
void entries_free(struct entries *entries);

void entry_figures(const struct entry *entry, struct figures *figures);
/* "web01 (3)", "web01", "domain 3", "a domain". */
void entry_title(const struct entry *entry, char *title, size_t size);

#endif /* XL_CMDS_ENTRIES_H */
