/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the encoder and its formats. */
#ifndef STREAM_V3_ENCODER_H
#define STREAM_V3_ENCODER_H

#include "checksum.h"
#include "internal.h"

struct v3_encoder;

struct v3_encoder_format {
    /* What is not page data goes into the context checksum. */
    bool context;
    /* Behind the domain header. */
    int (*begin)(struct v3_encoder *encoder);
    /* A regular PAGE_DATA begins: record, page_data and pfns are known. */
    int (*batch)(struct v3_encoder *encoder);
    /* The contents of pfns[next_pfn]. */
    int (*page)(struct v3_encoder *encoder, const void *page);
    int (*batch_end)(struct v3_encoder *encoder);
    /* Before END is written. */
    int (*end)(struct v3_encoder *encoder);
    /* The sink has finished. */
    int (*finished)(struct v3_encoder *encoder);
};

extern const struct v3_encoder_format v3_encoder_v3, v3_encoder_compat;

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

struct v3_encoder {
    const struct v3_encoder_format *format;
    struct v3_encoder_options options;
    struct v3_sink *sink;
    struct v3_error *error;
    uint64_t start;             /* stream start */
    struct v3_totals totals;
    struct v3_passes passes;
    uint64_t last_pfn;          /* of the batch before */
    uint64_t v2_records;
    struct v3_checksum context, batch;

    enum stage stage;
    uint64_t need, have;        /* octets of the stage */

    struct v2_record_header record;
    struct v2_page_data_header page_data;
    uint32_t contents;          /* pages that are still to come */
    uint32_t next_pfn;

    /* The batch that is being written. */
    uint64_t batch_offset;      /* of its (padding) record */
    struct v3_aligned_page_data aligned;
    struct v3_index_entry entry;

    struct v3_index_entry *index;
    uint32_t index_entries, index_capacity;
    bool index_full;            /* left out: spec 3.5 */
    struct v3_header_record header;
    uint64_t header_offset;

    uint64_t *pfns;             /* in `piece`, behind the page_data header */
    uint8_t piece[sizeof(struct v2_page_data_header) + 8 * V3_BATCH_MAX]
        __attribute__((aligned(64)));
    uint8_t page[V2_PAGE_SIZE]; /* one that came in pieces */
};

/* Writes octets that are not page data. */
int v3_encoder_emit(struct v3_encoder *encoder, const void *data,
                    size_t length);
/* Copies a page into the sink and its copy into the batch checksum. */
int v3_encoder_copy_page(struct v3_encoder *encoder, const void *page);

#endif /* STREAM_V3_ENCODER_H */
