/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spec 3.2.1: what compresses the frames of a batch. */
#ifndef XENSAVE_CODEC_H
#define XENSAVE_CODEC_H

#include "stream-v3/internal.h"

struct xensave_codec_facts {
    const char *name;
    uint64_t feature;             /* of ALIGNED_HEADER */
    int level_max, level_default; /* the least is 1 */
};

/* NULL for what does not exist. */
const struct xensave_codec_facts *xensave_codec_facts(uint32_t codec);

struct xensave_codec_ops {
    /* State of one thread; NULL if there is no memory. */
    void *(*pack_new)(int level);
    /* Bytes written, 0 if they do not fit into `size`. */
    size_t (*pack)(void *state, void *to, size_t size, const void *from,
                   size_t length);
    void (*pack_free)(void *state);

    void *(*unpack_new)(void);
    /* Whether `length` bytes came of it, no more and no less. */
    bool (*unpack)(void *state, void *to, size_t length, const void *from,
                   size_t stored);
    void (*unpack_free)(void *state);
};

extern const struct xensave_codec_ops xensave_codec_lz4, xensave_codec_zstd;

/* NULL for XENSAVE_CODEC_NONE and for what does not exist. */
const struct xensave_codec_ops *xensave_codec_find(uint32_t codec);

/* ---- unpacking ---------------------------------------------------------- */

/* State of one thread, made when needed. */
struct xensave_unpacker {
    void *state[XENSAVE_CODECS];
};

/*
 * Unpacks what has matched its checksum.  Returns an errno value: EPROTO if it
 * is not `length` bytes.
 */
int xensave_unpack(struct xensave_unpacker *unpacker, uint32_t codec, void *to,
                   size_t length, const void *stored, size_t size);
void xensave_unpacker_free(struct xensave_unpacker *unpacker);

#endif /* XENSAVE_CODEC_H */
