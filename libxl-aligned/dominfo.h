/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libxl_dominfo, in whatever version libxl has. */
#ifndef LIBXL_ALIGNED_DOMINFO_H
#define LIBXL_ALIGNED_DOMINFO_H

#include "operation/domain_config.h"
#include "real.h"

struct dominfo {
    uint64_t memory; /* bytes */
    bool suspended;
    bool pv;
    libxl_domain_type type; /* 0: not known */
    uint32_t vcpus;
    uint8_t uuid[16];
};

/* libxl's error; `info` is all zero then. */
int dominfo_read(const struct real *real, libxl_ctx *ctx, uint32_t domid,
                 struct dominfo *info);

/* Empty if libxl cannot format `d_config`. */
void domain_config(const struct real *real, libxl_ctx *ctx,
                   libxl_domain_config *d_config,
                   struct domain_config *config);

#endif /* LIBXL_ALIGNED_DOMINFO_H */
