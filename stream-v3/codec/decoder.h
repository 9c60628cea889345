/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the decoder and its formats. */
#ifndef XENSAVE_DECODER_H
#define XENSAVE_DECODER_H

#include "batch.h"
#include "checksum.h"
#include "record.h"
#include "stream-v3/io/io.h"
#include "unpack.h"

struct xensave_decoder;

struct xensave_decoder_format {
    enum xensave_format format;
    /* Records have checksums and are listed: spec 3.5, 3.6. */
    bool listed;
    /* A record that is known, or Xen's, and in its place. */
    int (*record)(struct xensave_decoder *decoder);
    /* The pages of the batch that has begun, in the order of its pfns. */
    int (*pages)(struct xensave_decoder *decoder, uint8_t *to);
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
    struct xensave_checksum context; /* of ALIGNED_CHECK */
    struct xensave_checksum part;    /* a record, a frame, a compat batch */
    /* What the index has to say of the batches and of the other records. */
    struct xensave_checksum batches, records;
    uint64_t listed; /* of these records */

    struct {
        struct xensave_v2_image_header image;
        struct xensave_v2_domain_header domain;
    } heads;
    struct xensave_header_record header;
    struct xensave_order order;
    bool announced; /* compat: by the PADDING before the record */
    uint64_t index_offset;
    char *identity;
    uint32_t head_padding; /* compat */
    uint64_t expected;     /* batch checksum */

    /* What is handed out next, in this order. */
    const uint8_t *piece; /* a structure, or a staged batch */
    size_t piece_left;
    uint64_t body_left; /* bytes straight from the source */
    bool pages_pending; /* the pages of the batch below */

    struct xensave_batch_head head; /* v3 */
    struct xensave_batch_shape shape;

    /* Where batches are decompressed ahead: decode_ahead.c. */
    struct xensave_unpack_ring *ring;
    struct xensave_unpack_job *job; /* of the batch that has begun */
    uint64_t records_read, batches_read;
    struct {
        bool read; /* a record behind the batches in the ring */
        struct xensave_v2_record_header record;
        uint64_t offset, number;
    } next;
    struct xensave_error failed; /* of what lies behind them */

    uint32_t contents; /* of the v2 batch, in pages */
    uint8_t *staging;  /* one batch, if it is asked for in parts */
    uint8_t *stored;   /* the contents of one that is compressed */
    struct xensave_unpacker unpacker;

    struct {
        struct xensave_v2_record_header record;
        struct xensave_v2_page_data_header page_data;
        uint64_t pfns[XENSAVE_BATCH_MAX];
    } v2;
};

int xensave_decoder_fail(struct xensave_decoder *decoder, const char *format,
                         ...) __attribute__((format(printf, 2, 3)));
/* Hands out the current record as it is. */
int xensave_decoder_pass_record(struct xensave_decoder *decoder);
/* Reads bytes that must be zero. */
int xensave_decoder_zeros(struct xensave_decoder *decoder, uint64_t length);
/* Between these, all bytes of the current record go into `part`. */
void xensave_decoder_begin_part(struct xensave_decoder *decoder);
void xensave_decoder_end_part(struct xensave_decoder *decoder);
/* Reads bytes into `part` as well. */
int xensave_decoder_read_part(struct xensave_decoder *decoder, void *to,
                              size_t length);
int xensave_decoder_bad_frame(struct xensave_decoder *decoder, int errnum,
                              uint32_t frame);
/* Room for a batch, made when needed. */
uint8_t *xensave_decoder_room(struct xensave_decoder *decoder, uint8_t **room);
/*
 * Hands out the batch whose v2 form is in decoder->v2; one without pages only
 * when all of it has been verified.
 */
int xensave_decoder_begin_batch(struct xensave_decoder *decoder);

/* decode_v3.c */
int xensave_decoder_read_head(struct xensave_decoder *decoder,
                              struct xensave_batch_head *head,
                              struct xensave_batch_shape *shape,
                              uint64_t number, struct xensave_pfns *pfns);
int xensave_decoder_head_read(struct xensave_decoder *decoder,
                              const struct xensave_batch_head *head,
                              const struct xensave_batch_shape *shape,
                              const struct xensave_pfns *pfns);
/* decoder.c: reads the header of the next record and judges it. */
int xensave_decoder_read_record(struct xensave_decoder *decoder);

/* decode_ahead.c: there is a ring, and a batch in it that is handed out. */
int xensave_decoder_ahead(struct xensave_decoder *decoder, bool *begun);
/* Pages of decoder->job. */
int xensave_decoder_take_pages(struct xensave_decoder *decoder, uint8_t *to);

#endif /* XENSAVE_DECODER_H */
