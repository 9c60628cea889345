/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the index reader share. */
#ifndef XENSAVE_INDEX_H
#define XENSAVE_INDEX_H

#include "stream-v3/codec/codec.h"
#include "savefile.h"

/* One record: 128 MiB. */
#define XENSAVE_INDEX_MAX                                             \
    ((XENSAVE_V2_RECORD_MAX - sizeof(struct xensave_aligned_index)) / \
     sizeof(struct xensave_index_entry))

/*
 * A stream of a running domain hands its batches out a few passes at once
 * where its pages are read in the order of their pfns.
 */
#define XENSAVE_INDEX_CACHED 8U

/* A batch whose contents have been read and verified. */
struct xensave_index_cached {
    uint64_t batch; /* UINT64_MAX: none */
    uint64_t used;  /* the greater, the later */
    uint8_t *pages;
};

/* The start of a batch's record. */
struct xensave_index_head {
    struct xensave_v2_record_header record;
    union {
        struct xensave_aligned_page_data aligned;
        struct xensave_v2_page_data_header page_data;
    };
    uint64_t pfns[XENSAVE_BATCH_MAX];
};

struct xensave_index {
    int fd;     /* the caller's */
    int direct; /* -1: there is no direct I/O */
    struct xensave_file savefile;
    struct xensave_error *error;
    /* Offsets are file offsets, unlike in the file. */
    struct xensave_index_entry *entries;
    uint64_t *checksums; /* compat: out of the PADDING records */
    size_t count, capacity;
    uint64_t end;
    uint64_t uses;
    struct xensave_index_head head; /* of the batch looked at last */
    uint32_t stored;                /* bytes of its contents in the file */
    struct xensave_unpacker unpacker;
    struct xensave_index_cached cached[XENSAVE_INDEX_CACHED];
};

/* index.c */
int xensave_index_pread(struct xensave_index *index, void *data, size_t length,
                        uint64_t offset);
/* Reads index->head and holds it against the entry. */
int xensave_index_load_head(struct xensave_index *index, uint64_t batch);
#endif /* XENSAVE_INDEX_H */
