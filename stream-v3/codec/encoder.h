/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the encoder and its formats. */
#ifndef XENSAVE_ENCODER_H
#define XENSAVE_ENCODER_H

#include "checksum.h"
#include "stream-v3/io/io.h"
#include "pack.h"
#include "record.h"

struct xensave_encoder;

struct xensave_encoder_format {
    /* What is not page data goes into the context checksum. */
    bool context;
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

/* The beginning of an ALIGNED_PAGE_DATA. */
struct xensave_batch_head {
    struct xensave_v2_record_header record;
    struct xensave_aligned_page_data aligned;
    uint64_t pfns[XENSAVE_BATCH_MAX];
};

static inline size_t xensave_batch_head_length(uint32_t count)
{
    return offsetof(struct xensave_batch_head, pfns) + 8 * (size_t)count;
}

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
    struct xensave_checksum context, batch;

    enum stage stage;
    uint64_t need, have; /* bytes of the stage */

    struct xensave_v2_record_header record;
    struct xensave_v2_page_data_header page_data;
    uint32_t contents; /* pages that are still to come */
    uint32_t next_pfn;

    /* The batch that is being written. */
    uint64_t batch_offset; /* of its (padding) record */
    struct xensave_aligned_page_data aligned;
    uint64_t pages_offset; /* in the file */

    /* Where batches are compressed. */
    struct xensave_packer *packer;
    struct xensave_pack_job *job; /* the batch that is coming in */
    bool packed;                  /* one became smaller */

    struct xensave_index_entry *index;
    uint32_t index_entries, index_capacity;
    bool no_index; /* left out: spec 3.3, 3.5 */
    struct xensave_header_record header;
    uint64_t header_offset;

    uint64_t *pfns; /* in `piece`, behind the page_data header */
    uint8_t piece[sizeof(struct xensave_v2_page_data_header) +
                  8 * XENSAVE_BATCH_MAX] __attribute__((aligned(64)));
    uint8_t page[XENSAVE_V2_PAGE_SIZE]; /* one that came in pieces */
};

/* Writes bytes that are not page data. */
int xensave_encoder_emit(struct xensave_encoder *encoder, const void *data,
                         size_t length);
/*
 * Fills in the length and the checksum of a batch whose contents take
 * `stored` bytes and are in `checksum` already.
 */
void xensave_encoder_seal_batch(struct xensave_encoder *encoder,
                                struct xensave_batch_head *head,
                                uint32_t stored,
                                const struct xensave_checksum *checksum);
/* `offset` of the record and `pages` of its contents, in the file. */
int xensave_encoder_add_to_index(struct xensave_encoder *encoder,
                                 const struct xensave_batch_head *head,
                                 uint64_t offset, uint64_t pages);
/* Copies a page into the sink and its copy into the batch checksum. */
int xensave_encoder_copy_page(struct xensave_encoder *encoder,
                              const void *page);

#endif /* XENSAVE_ENCODER_H */
