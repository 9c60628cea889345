/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the encoder and its formats. */
#ifndef XENSAVE_ENCODER_H
#define XENSAVE_ENCODER_H

#include "batch.h"
#include "checksum.h"
#include "stream-v3/io/io.h"
#include "pack.h"
#include "record.h"

struct xensave_encoder;

struct xensave_encoder_format {
    /* Records have checksums and are listed: spec 3.5, 3.6. */
    bool listed;
    /* Behind the domain header. */
    int (*begin)(struct xensave_encoder *encoder);
    /* A regular PAGE_DATA begins: record, page_data and pfns are known. */
    int (*batch)(struct xensave_encoder *encoder);
    /* The contents of pfns[next_pfn]. */
    int (*page)(struct xensave_encoder *encoder, const void *page);
    int (*batch_end)(struct xensave_encoder *encoder);
    /* NULL, or writes what is held back: bytes of another kind come. */
    int (*flush)(struct xensave_encoder *encoder);
    /* Before END is written. */
    int (*end)(struct xensave_encoder *encoder);
    /* The sink has finished. */
    int (*finished)(struct xensave_encoder *encoder);
};

extern const struct xensave_encoder_format xensave_encoder_v3,
    xensave_encoder_packed, xensave_encoder_compat;

/* Entries of the index. */
struct xensave_list {
    uint8_t *bytes;
    size_t length, capacity;
};

enum stage {
    STAGE_IMAGE,
    STAGE_DOMAIN,
    STAGE_RECORD,
    STAGE_PAGE_DATA,
    STAGE_PFNS,
    STAGE_PAGE,
    STAGE_BODY,
    STAGE_END,
    STAGE_ENDED,
};

struct xensave_encoder {
    const struct xensave_encoder_format *format;
    struct xensave_encoder_options options;
    struct xensave_sink *sink;
    struct xensave_error *error;
    uint64_t start; /* stream start */
    struct xensave_totals totals;
    struct xensave_passes passes;
    uint64_t last_pfn; /* of the batch before */
    uint64_t v2_records;
    struct xensave_checksum context; /* of ALIGNED_CHECK */
    struct xensave_checksum part;    /* a record, a frame, a compat batch */

    enum stage stage;
    uint64_t need, have; /* bytes of the stage */

    struct xensave_v2_record_header record;
    struct xensave_v2_page_data_header page_data;
    uint32_t contents; /* pages that are still to come */
    uint32_t next_pfn;

    /* The batch that is being written. */
    uint64_t batch_offset; /* of its (padding) record */
    struct xensave_batch_head head;
    uint64_t pages_offset;   /* in the file */
    uint64_t written;        /* batches */
    uint64_t passing_offset; /* of the record that is handed on */

    /* Where batches are compressed. */
    struct xensave_packer *packer;
    struct xensave_pack_job *job; /* the batch that is coming in */
    bool packed;                  /* one became smaller */

    struct xensave_list batches, records;
    bool no_index; /* left out: spec 3.5 */
    char *identity;
    struct xensave_header_record header;
    uint64_t header_offset;

    uint64_t *pfns; /* in `piece`, behind the page_data header */
    uint8_t piece[sizeof(struct xensave_v2_page_data_header) +
                  8 * XENSAVE_BATCH_MAX] __attribute__((aligned(64)));
    uint8_t page[XENSAVE_V2_PAGE_SIZE]; /* one that came in pieces */
};

/* Writes bytes of a record that is not a batch. */
int xensave_encoder_emit(struct xensave_encoder *encoder, const void *data,
                         size_t length);
/* The bytes that follow are a record of this length. */
int xensave_encoder_begin_record(
    struct xensave_encoder *encoder,
    const struct xensave_v2_record_header *record);
/* All of them have been written. */
int xensave_encoder_end_record(struct xensave_encoder *encoder,
                               const struct xensave_v2_record_header *record);
/*
 * Spec 3.2: where in the file the contents of the batch begin, one with
 * `contents` pages of which some may turn out to be zero.
 */
uint64_t xensave_encoder_pages_offset(const struct xensave_encoder *encoder,
                                      const struct xensave_batch_head *head,
                                      uint64_t offset, uint32_t contents);
/*
 * Numbers, seals and lists a batch whose counts, flags and arrays are filled
 * in.  `pfns` as xensave_pfns_check has them; `offset` of the record and
 * `pages` of its contents, in the file.
 */
int xensave_encoder_seal_batch(struct xensave_encoder *encoder,
                               struct xensave_batch_head *head,
                               const struct xensave_batch_shape *shape,
                               const struct xensave_pfns *pfns,
                               uint64_t offset, uint64_t pages);
/* Copies a page into the sink, and its copy into the checksum `part`. */
int xensave_encoder_copy_page(struct xensave_encoder *encoder,
                              const void *page);

#endif /* XENSAVE_ENCODER_H */
