/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A saved domain on its way to a core. */
#ifndef XENSAVE_CORE_SAVED_H
#define XENSAVE_CORE_SAVED_H

#include "core.h"
#include "stream-v3/codec/record.h"
#include "stream-v3/io/io.h"

/* core_collect.c: what the records say of the domain. */
struct core_collected {
    struct core_domain domain;
    bool has_pv_info;
    uint64_t *p2m_pfn; /* PV: pfns of the guest's own table */
    uint64_t p2m_pfns;
    uint64_t p2m_first; /* pfn that the first is for */
    uint64_t pfns;      /* that the batches list, some of them again */
    uint8_t vmcoreinfo[XENSAVE_V2_PAGE_SIZE];
    uint8_t shared_info[XENSAVE_V2_PAGE_SIZE];
};

/*
 * By the index that a v3 file has, which is open: reads no pages, and trusts
 * xensave_file_check, which has verified the other records.
 */
int core_collect_indexed(struct core_collected *collected,
                         struct xensave_index *index,
                         struct xensave_error *error);
/* Reads the whole stream and verifies it. */
int core_collect(struct core_collected *collected, int fd,
                 const struct xensave_file *savefile,
                 const struct core_options *options,
                 struct xensave_error *error);
/* Keeps the first VMCOREINFO that a page begins with. */
void core_take_vmcoreinfo(struct core_collected *collected, const void *page);
void core_collected_free(struct core_collected *collected);

/* core_share.c */
struct core_share {
    int from, to;
    uint32_t way;
    bool copies; /* copying is known to spare the page cache */
};

/* `to`: a file open for reading and writing; -1: nothing can be shared. */
void core_share_init(struct core_share *share, int from, int to);
bool core_can_share(const struct core_share *share);
/* False: the bytes, if they came at all, are to be written. */
bool core_share(struct core_share *share, uint64_t from, uint64_t to,
                uint64_t length);

#endif /* XENSAVE_CORE_SAVED_H */
