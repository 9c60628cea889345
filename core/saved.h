/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A saved domain on its way to a core. */
#ifndef STREAM_V3_CORE_SAVED_H
#define STREAM_V3_CORE_SAVED_H

#include "core.h"
#include "stream-v3/internal.h"

/* core_collect.c: what the records say of the domain. */
struct v3_core_collected {
    struct v3_core_domain domain;
    bool has_pv_info;
    uint64_t *p2m_pfn;      /* PV: pfns of the guest's own table */
    uint64_t p2m_pfns;
    uint64_t p2m_first;     /* pfn that the first is for */
    uint64_t pfns;          /* that the batches list, some of them again */
    uint8_t vmcoreinfo[V2_PAGE_SIZE];
    uint8_t shared_info[V2_PAGE_SIZE];
};

/* Reads the whole stream and verifies it. */
int v3_core_collect(struct v3_core_collected *collected, int fd,
                    const struct v3_savefile *savefile,
                    const struct v3_core_options *options,
                    struct v3_error *error);
void v3_core_collected_free(struct v3_core_collected *collected);

/* core_share.c */
struct v3_core_share {
    int from, to;
    uint32_t way;
    bool copies;            /* copying is known to spare the page cache */
};

/* `to`: a file open for reading and writing; -1: nothing can be shared. */
void v3_core_share_init(struct v3_core_share *share, int from, int to);
bool v3_core_can_share(const struct v3_core_share *share);
/* False: the octets, if they came at all, are to be written. */
bool v3_core_share(struct v3_core_share *share, uint64_t from, uint64_t to,
                   uint64_t length);

#endif /* STREAM_V3_CORE_SAVED_H */
