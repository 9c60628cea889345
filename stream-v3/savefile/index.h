/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the index reader share. */
#ifndef STREAM_V3_INDEX_H
#define STREAM_V3_INDEX_H

#include "stream-v3/codec/codec.h"

/* One record: 128 MiB. */
#define V3_INDEX_MAX \
    ((V2_RECORD_MAX - sizeof(struct v3_aligned_index)) / \
     sizeof(struct v3_index_entry))

/*
 * A stream of a running domain hands its batches out a few passes at once
 * where its pages are read in the order of their pfns.
 */
#define V3_INDEX_CACHED 8U

/* A batch whose contents have been read and verified. */
struct v3_index_cached {
    uint64_t batch;             /* UINT64_MAX: none */
    uint64_t used;              /* the greater, the later */
    uint8_t *pages;
};

/* The start of a batch's record. */
struct v3_index_head {
    struct v2_record_header record;
    union {
        struct v3_aligned_page_data aligned;
        struct v2_page_data_header page_data;
    };
    uint64_t pfns[V3_BATCH_MAX];
};

struct v3_index {
    int fd;                     /* the caller's */
    int direct;                 /* -1: there is no direct I/O */
    struct v3_savefile savefile;
    struct v3_error *error;
    /* Offsets are file offsets, unlike in the file. */
    struct v3_index_entry *entries;
    uint64_t *checksums;        /* compat: out of the PADDING records */
    size_t count, capacity;
    uint64_t end;
    uint64_t uses;
    struct v3_index_head head;  /* of the batch looked at last */
    uint32_t stored;            /* octets of its contents in the file */
    struct v3_unpacker unpacker;
    struct v3_index_cached cached[V3_INDEX_CACHED];
};

/* index_walk.c: fills the entries record by record. */
int v3_index_walk(struct v3_index *index);

/* index.c */
int v3_index_add(struct v3_index *index, const struct v3_index_entry *entry,
                 uint64_t checksum);
int v3_index_pread(struct v3_index *index, void *data, size_t length,
                   uint64_t offset);
/* Reads index->head and holds it against the entry. */
int v3_index_load_head(struct v3_index *index, uint64_t batch);
/*
 * Least and greatest pfn with contents and the number of stored pages; false
 * if a reserved bit is set.
 */
bool v3_index_take_pfns(const uint64_t *pfns, uint32_t count, bool zero_bit,
                        struct v3_index_entry *entry);

#endif /* STREAM_V3_INDEX_H */
