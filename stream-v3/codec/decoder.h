/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the decoder and its formats. */
#ifndef STREAM_V3_DECODER_H
#define STREAM_V3_DECODER_H

#include "checksum.h"
#include "codec.h"

struct v3_decoder;

struct v3_decoder_format {
    enum v3_format format;
    /* What is handed on as it is goes into the context checksum. */
    bool context;
    /* A record of one of our types, or PAGE_DATA, begins. */
    int (*record)(struct v3_decoder *decoder);
    /* END has been read. */
    int (*end)(struct v3_decoder *decoder);
};

extern const struct v3_decoder_format v3_decoder_v2, v3_decoder_compat,
                                      v3_decoder_v3;

enum phase {
    PHASE_IMAGE,
    PHASE_DOMAIN,
    PHASE_FIRST_RECORD,
    PHASE_RECORD,
    PHASE_ENDED,
};

struct v3_decoder {
    struct v3_source *source;
    struct v3_error *error;
    const struct v3_decoder_format *format;
    enum phase phase;
    uint64_t start;             /* stream start */
    uint64_t record_offset;     /* file offset of the current record */
    uint64_t record_number;     /* records before it */
    struct v2_record_header record;
    struct v3_totals totals;
    struct v3_checksum context, batch;
    struct v3_header_record header;
    bool left_alone;            /* a PAGE_DATA as it is: spec 3.3 */
    bool index_seen, check_seen;
    uint64_t index_offset;
    uint32_t head_padding;      /* compat */
    bool checksum_pending;      /* compat: a PADDING announced a batch */
    uint64_t expected;          /* batch checksum */

    /* What is handed out next, in this order. */
    const uint8_t *piece;       /* a structure, or a staged batch */
    size_t piece_left;
    uint64_t body_left;         /* octets straight from the source */
    bool pages_pending;         /* the pages of the batch below */

    struct v3_aligned_page_data aligned;
    uint32_t stored;            /* octets of its contents in the stream */
    uint32_t contents;          /* of the v2 batch, in pages */
    uint8_t *staging;           /* one batch, if it is asked for in parts */
    struct v3_unpacker unpacker;

    struct {
        struct v2_record_header record;
        struct v2_page_data_header page_data;
        uint64_t pfns[V3_BATCH_MAX];
    } v2;
    uint64_t pfns[V3_BATCH_MAX];    /* as stored */
};

int v3_decoder_fail(struct v3_decoder *decoder, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Hands out the current record as it is. */
int v3_decoder_pass_record(struct v3_decoder *decoder);
/* Reads octets that must be zero. */
int v3_decoder_zeros(struct v3_decoder *decoder, uint64_t length);
/* Reads octets of the contents of a batch, into its checksum as well. */
int v3_decoder_read_stored(struct v3_decoder *decoder, uint8_t *to,
                           size_t length);
/* The contents have been read: whether the checksum of the batch matches. */
int v3_decoder_check_batch(struct v3_decoder *decoder);
/* All pages of a compressed batch, in the order of its pfns. */
int v3_decoder_read_packed(struct v3_decoder *decoder, uint8_t *to);
/*
 * Hands out the batch whose v2 form is in decoder->v2; one without pages only
 * when its checksum has matched.
 */
int v3_decoder_begin_batch(struct v3_decoder *decoder);

#endif /* STREAM_V3_DECODER_H */
