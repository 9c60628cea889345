/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Batches that are being compressed: handed in in their order, compressed in
 * threads, and taken in their order.  There are a few of them and no more.
 */
#ifndef STREAM_V3_PACK_H
#define STREAM_V3_PACK_H

#include "checksum.h"
#include "codec.h"

struct v3_pack_job {
    /* In.  The array has its ZERO bits. */
    uint64_t pfns[V3_BATCH_MAX];
    uint32_t count, pages;
    uint8_t *contents;          /* room for V3_BATCH_MAX pages */

    /* Out. */
    enum v3_codec codec;        /* NONE if there was too little to gain */
    const uint8_t *stored;
    size_t length;
    struct v3_checksum checksum;    /* over these, so far */

    /* Of pack.c. */
    uint8_t *packed;
    bool finished;
};

struct v3_packer;

struct v3_packer *v3_packer_new(const struct v3_compression *compression,
                                uint32_t threads, struct v3_error *error);
/* One to be filled; NULL if one has to be taken first. */
struct v3_pack_job *v3_packer_room(struct v3_packer *packer);
/* What v3_packer_room gave has been filled. */
void v3_packer_submit(struct v3_packer *packer);
/*
 * Waits for the first of those submitted; NULL if there is none.  Stays the
 * same until it is released.
 */
struct v3_pack_job *v3_packer_take(struct v3_packer *packer);
void v3_packer_release(struct v3_packer *packer);
/*
 * Waits for the first to be finished, but no longer than a moment; whether it
 * is.
 */
bool v3_packer_wait(struct v3_packer *packer);
/* Those that no thread has begun with are to be stored as they are. */
void v3_packer_give_up(struct v3_packer *packer);
void v3_packer_free(struct v3_packer *packer);

#endif /* STREAM_V3_PACK_H */
