/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libxl's own functions, in whatever version is loaded. */
#ifndef LIBXL_ALIGNED_REAL_H
#define LIBXL_ALIGNED_REAL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libxl-aligned.h"

#define EXPORT __attribute__((visibility("default")))

/* preload.c: path of this library, or "" if it is not known. */
extern char own_path[PATH_MAX];
/*
 * The program loaded libxenlight after this library, as libvirt's daemons do.
 */
extern bool libxl_came_late;

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

#endif /* LIBXL_ALIGNED_REAL_H */
