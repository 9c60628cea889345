/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A saved domain on its way to a core. */
#ifndef STREAM_V3_CORE_SAVED_H
#define STREAM_V3_CORE_SAVED_H

#include "core.h"
#include "internal.h"

/* core_collect.c: what the records say of the domain. */
struct v3_core_collected {
    struct v3_core_domain domain;
    bool has_pv_info;
    uint64_t *p2m_pfn;      /* PV: pfns of the guest's own table */
    uint64_t p2m_pfns;
    uint64_t p2m_first;     /* pfn that the first is for */
    uint8_t vmcoreinfo[V2_PAGE_SIZE];
    uint8_t shared_info[V2_PAGE_SIZE];
};

/* Reads the whole stream and verifies it. */
int v3_core_collect(struct v3_core_collected *collected, int fd,
                    const struct v3_savefile *savefile,
                    struct v3_error *error);
void v3_core_collected_free(struct v3_core_collected *collected);

#endif /* STREAM_V3_CORE_SAVED_H */
