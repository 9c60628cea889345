/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What this process can do, and with which settings. */
#ifndef LIBXL_ALIGNED_RUNTIME_H
#define LIBXL_ALIGNED_RUNTIME_H

#include "operation/settings.h"
#include "real.h"

/* preload.c: the environment when the library was loaded. */
extern struct environment environment;
/* Moves it from the process to `environment`, once. */
void environment_take(void);

struct runtime {
    struct real real;
    xl_aligned_options opts; /* of the preloaded library */
    char helper_library[PATH_MAX];
    char why[512]; /* "", or why stock save and restore are used */
};

/* Determined at the first call. */
const struct runtime *runtime_get(void);
/* Whether `why` is empty; the first time that it is not, reports it. */
bool runtime_usable(const struct runtime *runtime, xentoollog_logger *lg);

#endif /* LIBXL_ALIGNED_RUNTIME_H */
