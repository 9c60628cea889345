/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Batches that are being compressed: handed in in their order, compressed in
 * threads, and taken in their order.  There are a few of them and no more.
 */
#ifndef XENSAVE_PACK_H
#define XENSAVE_PACK_H

#include "batch.h"

struct xensave_pack_job {
    /* In: count, pages, and pfns with their ZERO bits.  Out: all but places. */
    struct xensave_batch_head head;
    uint8_t *contents; /* room for XENSAVE_BATCH_MAX pages */

    /* Out.  Not compressed if there was too little to gain. */
    struct xensave_batch_shape shape;
    const uint8_t *stored;

    uint8_t *packed; /* of pack.c */
};

struct xensave_packer;

struct xensave_packer *xensave_packer_new(
    const struct xensave_compression *compression, uint32_t threads,
    struct xensave_error *error);
/* One to be filled; NULL if one has to be taken first. */
struct xensave_pack_job *xensave_packer_job(struct xensave_packer *packer);
/* What xensave_packer_job gave has been filled. */
void xensave_packer_submit(struct xensave_packer *packer);
/*
 * Waits for the first of those submitted; NULL if there is none.  Stays the
 * same until it is released.
 */
struct xensave_pack_job *xensave_packer_take(struct xensave_packer *packer);
void xensave_packer_release(struct xensave_packer *packer);
/*
 * Waits for the first to be finished, but no longer than a moment; whether it
 * is.
 */
bool xensave_packer_wait(struct xensave_packer *packer);
/* Those that no thread has begun with are to be stored as they are. */
void xensave_packer_give_up(struct xensave_packer *packer);
void xensave_packer_free(struct xensave_packer *packer);

#endif /* XENSAVE_PACK_H */
