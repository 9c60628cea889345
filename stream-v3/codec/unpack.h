/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Batches that are verified and decompressed ahead of the caller: handed in in
 * the order of the stream, opened in threads, and taken in their order.
 */
#ifndef XENSAVE_UNPACK_H
#define XENSAVE_UNPACK_H

#include "batch.h"

struct xensave_unpack_job {
    /* In. */
    struct xensave_batch_head head;
    struct xensave_batch_shape shape;
    struct xensave_pfns pfns;
    uint64_t offset, number; /* of the record */
    uint8_t *stored;         /* room for XENSAVE_BATCH_MAX pages */

    /* Out: of xensave_batch_open, and the stored pages in a row. */
    int result;
    uint32_t frame;
    uint8_t *pages;
};

struct xensave_unpack_ring;

/* NULL if there is no memory or no thread: the caller does it itself. */
struct xensave_unpack_ring *xensave_unpack_ring_new(void);
/* One to be filled; NULL if one has to be taken first. */
struct xensave_unpack_job *xensave_unpack_ring_job(
    struct xensave_unpack_ring *ring);
/* What xensave_unpack_ring_job gave has been filled. */
void xensave_unpack_ring_submit(struct xensave_unpack_ring *ring);
/* The first of those submitted, finished or not; NULL if there is none. */
struct xensave_unpack_job *xensave_unpack_ring_first(
    struct xensave_unpack_ring *ring);
/* Waits until that one is finished. */
void xensave_unpack_ring_wait(struct xensave_unpack_ring *ring);
void xensave_unpack_ring_release(struct xensave_unpack_ring *ring);
void xensave_unpack_ring_free(struct xensave_unpack_ring *ring);

#endif /* XENSAVE_UNPACK_H */
