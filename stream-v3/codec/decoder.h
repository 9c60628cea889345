/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the decoder and its formats. */
#ifndef XENSAVE_DECODER_H
#define XENSAVE_DECODER_H

#include "checksum.h"
#include "codec.h"
#include "record.h"
#include "stream-v3/io/io.h"

struct xensave_decoder;

struct xensave_decoder_format {
    enum xensave_format format;
    /* What is handed on as it is goes into the context checksum. */
    bool context;
    /* A record of one of our types, or PAGE_DATA, begins. */
    int (*record)(struct xensave_decoder *decoder);
    /* END has been read. */
    int (*end)(struct xensave_decoder *decoder);
};

extern const struct xensave_decoder_format xensave_decoder_v2,
    xensave_decoder_compat, xensave_decoder_v3;

enum phase {
    PHASE_IMAGE,
    PHASE_DOMAIN,
    PHASE_FIRST_RECORD,
    PHASE_RECORD,
    PHASE_ENDED,
};

struct xensave_decoder {
    struct xensave_source *source;
    struct xensave_error *error;
    const struct xensave_decoder_format *format;
    enum phase phase;
    uint64_t start;         /* stream start */
    uint64_t record_offset; /* file offset of the current record */
    uint64_t record_number; /* records before it */
    struct xensave_v2_record_header record;
    struct xensave_totals totals;
    struct xensave_checksum context, batch;
    struct xensave_header_record header;
    struct xensave_order order;
    bool announced; /* compat: by the PADDING before the record */
    uint64_t index_offset;
    uint32_t head_padding; /* compat */
    uint64_t expected;     /* batch checksum */

    /* What is handed out next, in this order. */
    const uint8_t *piece; /* a structure, or a staged batch */
    size_t piece_left;
    uint64_t body_left; /* bytes straight from the source */
    bool pages_pending; /* the pages of the batch below */

    struct xensave_aligned_page_data aligned;
    uint32_t stored;   /* bytes of its contents in the stream */
    uint32_t contents; /* of the v2 batch, in pages */
    uint8_t *staging;  /* one batch, if it is asked for in parts */
    struct xensave_unpacker unpacker;

    struct {
        struct xensave_v2_record_header record;
        struct xensave_v2_page_data_header page_data;
        uint64_t pfns[XENSAVE_BATCH_MAX];
    } v2;
    uint64_t pfns[XENSAVE_BATCH_MAX]; /* as stored */
};

int xensave_decoder_fail(struct xensave_decoder *decoder, const char *format,
                         ...) __attribute__((format(printf, 2, 3)));
/* Hands out the current record as it is. */
int xensave_decoder_pass_record(struct xensave_decoder *decoder);
/* Reads bytes that must be zero. */
int xensave_decoder_zeros(struct xensave_decoder *decoder, uint64_t length);
/* Reads bytes of the contents of a batch, into its checksum as well. */
int xensave_decoder_read_stored(struct xensave_decoder *decoder, uint8_t *to,
                                size_t length);
/* The contents have been read: whether the checksum of the batch matches. */
int xensave_decoder_check_batch(struct xensave_decoder *decoder);
/* All pages of a compressed batch, in the order of its pfns. */
int xensave_decoder_read_packed(struct xensave_decoder *decoder, uint8_t *to);
/*
 * Hands out the batch whose v2 form is in decoder->v2; one without pages only
 * when its checksum has matched.
 */
int xensave_decoder_begin_batch(struct xensave_decoder *decoder);

#endif /* XENSAVE_DECODER_H */
