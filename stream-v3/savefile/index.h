/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the index reader share. */
#ifndef XENSAVE_INDEX_H
#define XENSAVE_INDEX_H

#include "stream-v3/codec/batch.h"
#include "stream-v3/codec/place.h"

/* One record: 128 MiB. */
#define XENSAVE_INDEX_MAX                                             \
    ((XENSAVE_V2_RECORD_MAX - sizeof(struct xensave_aligned_index)) / \
     sizeof(struct xensave_index_batch))

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

struct xensave_index {
    int fd;     /* the caller's */
    int direct; /* -1: there is no direct I/O */
    struct xensave_file savefile;
    struct xensave_error *error;
    /* Offsets are file offsets, unlike in the file. */
    struct xensave_index_batch *entries;
    uint64_t *checksums; /* compat: out of the PADDING records */
    size_t count, capacity;
    uint64_t end;
    uint64_t uses;
    struct xensave_batch_head head; /* v3: of the batch looked at last */
    struct xensave_batch_shape shape;
    struct {
        struct xensave_v2_record_header record;
        struct xensave_v2_page_data_header page_data;
    } v2;           /* v2, compat: the same; the pfns are in `head` */
    uint8_t *stored; /* the contents of one that is compressed */
    struct xensave_unpacker unpacker;
    struct xensave_index_cached cached[XENSAVE_INDEX_CACHED];
};

/* index_walk.c: fills the entries record by record. */
int xensave_index_walk(struct xensave_index *index);

/* index.c */
int xensave_index_add(struct xensave_index *index,
                      const struct xensave_index_batch *entry,
                      uint64_t checksum);
int xensave_index_pread(struct xensave_index *index, void *data, size_t length,
                        uint64_t offset);
/* Fails: spec 3.3. */
int xensave_index_left_alone(struct xensave_index *index, uint64_t offset);
/* Reads index->head and holds it against the entry. */
int xensave_index_load_head(struct xensave_index *index, uint64_t batch);
/*
 * Least and greatest pfn with contents and the number of stored pages; false
 * if a pfn is invalid.
 */
bool xensave_index_take_pfns(const uint64_t *pfns, uint32_t count,
                             bool zero_bit, struct xensave_index_batch *entry);

#endif /* XENSAVE_INDEX_H */
