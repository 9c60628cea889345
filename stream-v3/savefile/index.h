/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the index reader share. */
#ifndef XENSAVE_INDEX_H
#define XENSAVE_INDEX_H

#include "stream-v3/codec/batch.h"
#include "savefile.h"

/* One record: 128 MiB. */
#define XENSAVE_INDEX_MAX                                             \
    ((XENSAVE_V2_RECORD_MAX - sizeof(struct xensave_aligned_index)) / \
     sizeof(struct xensave_index_batch))

/*
 * A stream of a running domain hands its batches out a few passes at once
 * where its pages are read in the order of their pfns.
 */
#define XENSAVE_INDEX_CACHED 8U

/* The head of a batch that has been read and held against its entry. */
struct xensave_index_head {
    uint64_t batch;                   /* UINT64_MAX: none */
    uint64_t used;                    /* the greater, the later */
    struct xensave_batch_shape shape; /* v3 */
    struct xensave_batch_head head;   /* v2, compat: only the pfns */
    struct {
        struct xensave_v2_record_header record;
        struct xensave_v2_page_data_header page_data;
    } v2; /* v2, compat */
};

/* Frames in a row, verified; of v2 and compat a whole batch. */
struct xensave_index_run {
    uint64_t batch, used;
    uint32_t first, count; /* pages among those stored */
    uint8_t *pages;
    size_t size; /* of the room */
};

struct xensave_index {
    struct xensave_reader reader;
    struct xensave_file savefile;
    struct xensave_error *error;
    /*
     * Offsets are file offsets, unlike in the file.  compat: the checksum is
     * that in the PADDING.
     */
    struct xensave_index_batch *entries;
    size_t count, capacity;
    /* v3 with an index; as in the file.  They lie behind the entries. */
    const struct xensave_index_record *records;
    size_t record_count;
    uint64_t end;
    uint64_t uses;
    struct xensave_index_head *head; /* looked at last */
    struct xensave_index_head heads[XENSAVE_INDEX_CACHED];
    struct xensave_index_run runs[XENSAVE_INDEX_CACHED];
    struct xensave_unpacker unpacker;
};

/* index.c */
/* Also of a stream whose pages cannot be found by it: spec 3.3. */
struct xensave_index *xensave_index_load(int fd,
                                         const struct xensave_file *savefile,
                                         struct xensave_error *error);
/* NULL: the error says why. */
const uint8_t *xensave_index_look(struct xensave_index *index, uint64_t offset,
                                  size_t length);
/* index_head.c: sets index->head. */
int xensave_index_load_head(struct xensave_index *index, uint64_t batch);

#endif /* XENSAVE_INDEX_H */
