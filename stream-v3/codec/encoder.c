/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * v2 octets in, any format out.  The octets arrive in pieces of any size:
 * small structures are collected until they are whole, page contents are
 * taken from where they lie.  What differs between the formats is in the
 * table of operations; encode_v3.c and encode_compat.c hold theirs.
 */
#include "encoder.h"

/* ---- what the stages do when their octets are complete -------------------- */

static int stage(struct v3_encoder *encoder, enum stage next, uint64_t need)
{
    encoder->stage = next;
    encoder->need = need;
    encoder->have = 0;
    return 0;
}

static int next_record(struct v3_encoder *encoder)
{
    return stage(encoder, STAGE_RECORD, sizeof(struct v2_record_header));
}

int v3_encoder_emit(struct v3_encoder *encoder, const void *data,
                    size_t length)
{
    if (encoder->format->flush && encoder->format->flush(encoder))
        return -1;
    if (encoder->format->context)
        v3_checksum_add(&encoder->context, data, length);
    return v3_sink_write(encoder->sink, data, length);
}

static int fail(struct v3_encoder *encoder, const char *what)
{
    return v3_fail_at(encoder->error, EBADMSG,
                      encoder->start + encoder->totals.v2_bytes,
                      encoder->v2_records, "not a save stream of Xen: %s",
                      what);
}

static int image_complete(struct v3_encoder *encoder)
{
    const struct v2_image_header *image = (const void *)encoder->piece;

    if (image->marker != V2_IMAGE_MARKER ||
        be32toh(image->id) != V2_IMAGE_ID)
        return fail(encoder, "no image header");
    if (be16toh(image->options) & V2_IMAGE_BIG_ENDIAN)
        return fail(encoder, "big-endian");
    if (v3_encoder_emit(encoder, image, sizeof(*image)))
        return -1;
    return stage(encoder, STAGE_DOMAIN, sizeof(struct v2_domain_header));
}

static int domain_complete(struct v3_encoder *encoder)
{
    const bool v3 = encoder->options.format == V3_FORMAT_V3;

    if (v3_encoder_emit(encoder, encoder->piece,
                        sizeof(struct v2_domain_header)))
        return -1;
    /* v3 has a mark of its own to take the place of an earlier one. */
    if (!v3 && v3_sink_settle(encoder->sink))
        return -1;
    if (encoder->format->begin && encoder->format->begin(encoder))
        return -1;
    if (v3 && v3_sink_settle(encoder->sink))
        return -1;
    return next_record(encoder);
}

/* The record is handed on as it is. */
static int begin_body(struct v3_encoder *encoder, uint64_t length)
{
    if (v3_encoder_emit(encoder, &encoder->record, sizeof(encoder->record)))
        return -1;
    encoder->no_index |= encoder->record.type == V2_RECORD_PAGE_DATA;
    encoder->totals.records++;
    return length ? stage(encoder, STAGE_BODY, length)
                  : next_record(encoder);
}

static uint64_t padded(uint32_t length)
{
    return (uint64_t)length + record_padding(length);
}

static int record_complete(struct v3_encoder *encoder)
{
    memcpy(&encoder->record, encoder->piece, sizeof(encoder->record));
    encoder->v2_records++;
    if (encoder->record.length > V2_RECORD_MAX)
        return fail(encoder, "record longer than 128 MiB");
    if (encoder->record.type == V2_RECORD_END) {
        if (encoder->record.length)
            return fail(encoder, "END record with a body");
        return stage(encoder, STAGE_END, 0);
    }
    if ((encoder->record.type & V3_RECORD_VENDOR_MASK) == V3_RECORD_VENDOR &&
        encoder->format->batch)
        return fail(encoder, "a record of stream v3 in it; decode it first");
    if (encoder->record.type != V2_RECORD_PAGE_DATA)
        return begin_body(encoder, padded(encoder->record.length));
    if (!encoder->format->batch)
        encoder->totals.batches++;
    if (!encoder->format->batch ||
        encoder->record.length < sizeof(struct v2_page_data_header))
        return begin_body(encoder, padded(encoder->record.length));
    return stage(encoder, STAGE_PAGE_DATA,
                 sizeof(struct v2_page_data_header));
}

/* A PAGE_DATA that cannot be re-encoded; what of it is here goes first. */
static int begin_irregular(struct v3_encoder *encoder, uint64_t here)
{
    if (begin_body(encoder, padded(encoder->record.length)) ||
        v3_encoder_emit(encoder, encoder->piece, here))
        return -1;
    encoder->have = here;
    return encoder->have < encoder->need ? 0 : next_record(encoder);
}

static int page_data_complete(struct v3_encoder *encoder)
{
    uint64_t array;

    memcpy(&encoder->page_data, encoder->piece, sizeof(encoder->page_data));
    array = 8ULL * encoder->page_data.count;
    if (!encoder->page_data.count ||
        encoder->page_data.count > V3_BATCH_MAX ||
        encoder->record.length < sizeof(encoder->page_data) + array)
        return begin_irregular(encoder, sizeof(encoder->page_data));
    stage(encoder, STAGE_PFNS, sizeof(encoder->page_data) + array);
    encoder->have = sizeof(encoder->page_data);
    return 0;
}

static int batch_complete(struct v3_encoder *encoder)
{
    encoder->totals.records++;
    if (encoder->format->batch_end(encoder))
        return -1;
    return next_record(encoder);
}

static void count_pass(struct v3_encoder *encoder)
{
    struct v3_passes *passes = &encoder->passes;
    const uint64_t *pfns = encoder->pfns;
    uint32_t last = encoder->page_data.count - 1;

    if (!passes->count || (pfns[0] & V2_PFN_MASK) <= encoder->last_pfn) {
        if (passes->count < V3_PASSES)
            passes->count++;
    }
    passes->pages[passes->count - 1] += encoder->contents;
    encoder->last_pfn = pfns[last] & V2_PFN_MASK;
}

static int pfns_complete(struct v3_encoder *encoder)
{
    if (!v3_page_data_regular(&encoder->record, &encoder->page_data,
                              encoder->pfns))
        return begin_irregular(encoder, encoder->need);
    encoder->contents = v3_count_contents(encoder->pfns,
                                          encoder->page_data.count);
    encoder->next_pfn = 0;
    encoder->totals.batches++;
    count_pass(encoder);
    if (encoder->format->batch(encoder))
        return -1;
    if (!encoder->contents)
        return batch_complete(encoder);
    return stage(encoder, STAGE_PAGE, V2_PAGE_SIZE);
}

static int page_complete(struct v3_encoder *encoder, const void *page)
{
    while (!v3_pfn_has_contents(encoder->pfns[encoder->next_pfn]))
        encoder->next_pfn++;
    if (encoder->format->page(encoder, page))
        return -1;
    encoder->next_pfn++;
    if (!--encoder->contents)
        return batch_complete(encoder);
    return stage(encoder, STAGE_PAGE, V2_PAGE_SIZE);
}

static int end_complete(struct v3_encoder *encoder)
{
    static const struct v2_record_header end = {V2_RECORD_END, 0};

    if (encoder->format->end && encoder->format->end(encoder))
        return -1;
    if (v3_sink_write(encoder->sink, &end, sizeof(end)))
        return -1;
    encoder->totals.records++;
    if (v3_sink_finish(encoder->sink))
        return -1;
    if (encoder->format->finished && encoder->format->finished(encoder))
        return -1;
    return stage(encoder, STAGE_ENDED, 0);
}

/* ---- stages --------------------------------------------------------------- */

static int (*const complete[])(struct v3_encoder *) = {
    [STAGE_IMAGE] = image_complete,
    [STAGE_DOMAIN] = domain_complete,
    [STAGE_RECORD] = record_complete,
    [STAGE_PAGE_DATA] = page_data_complete,
    [STAGE_PFNS] = pfns_complete,
    [STAGE_BODY] = next_record,
};

/* Takes what it can of `data`; returns how much, or -1. */
static ssize_t consume(struct v3_encoder *encoder, const uint8_t *data,
                       size_t length)
{
    size_t part = min_u64(length, encoder->need - encoder->have);
    uint8_t *to = encoder->stage == STAGE_PAGE ? encoder->page
                                               : encoder->piece;
    int r = 0;

    if (encoder->stage == STAGE_BODY) {
        if (v3_encoder_emit(encoder, data, part))
            return -1;
    } else if (encoder->stage == STAGE_PAGE && part == V2_PAGE_SIZE) {
        encoder->totals.v2_bytes += part;
        return page_complete(encoder, data) ? -1 : (ssize_t)part;
    } else {
        memcpy(to + encoder->have, data, part);
    }
    encoder->have += part;
    encoder->totals.v2_bytes += part;
    if (encoder->have == encoder->need)
        r = encoder->stage == STAGE_PAGE
            ? page_complete(encoder, encoder->page)
            : complete[encoder->stage](encoder);
    if (!r && encoder->stage == STAGE_END)
        r = end_complete(encoder);
    return r ? -1 : (ssize_t)part;
}

PUBLIC int v3_encoder_push(struct v3_encoder *encoder, const void *data,
                           size_t length)
{
    ssize_t taken;

    for (; length; length -= taken) {
        if (encoder->error->text[0])
            return -1;
        if (encoder->stage == STAGE_ENDED)
            return fail(encoder, "octets behind the END record");
        taken = consume(encoder, data, length);
        if (taken < 0)
            return -1;
        data = (const uint8_t *)data + taken;
    }
    return encoder->error->text[0] ? -1 : 0;
}

PUBLIC int v3_encoder_pushv(struct v3_encoder *encoder,
                            const struct iovec *iov, int iovcnt)
{
    for (int i = 0; i < iovcnt; i++)
        if (v3_encoder_push(encoder, iov[i].iov_base, iov[i].iov_len))
            return -1;
    return 0;
}

/* ---- v2: everything as it is ------------------------------------------------ */

static const struct v3_encoder_format v2_format = {.batch = NULL};

static const struct v3_encoder_format *const formats[] = {
    [V3_FORMAT_V2] = &v2_format,
    [V3_FORMAT_COMPAT] = &v3_encoder_compat,
    [V3_FORMAT_V3] = &v3_encoder_v3,
};

static int encoder_init(struct v3_encoder *encoder,
                        const struct v3_encoder_options *options)
{
    if ((size_t)options->format >= ARRAY_SIZE(formats))
        return v3_fail(encoder->error, EINVAL, "no such stream format");
    encoder->format = formats[options->format];
    encoder->options = *options;
    encoder->start = v3_sink_offset(encoder->sink);
    if (options->format == V3_FORMAT_COMPAT && encoder->start % 8)
        return v3_fail(encoder->error, EINVAL,
                       "compat needs a stream that starts at a multiple of "
                       "8, this one starts at %llu; use v3",
                       (unsigned long long)encoder->start);
    if (options->compression.codec != V3_CODEC_NONE) {
        if (options->format != V3_FORMAT_V3)
            return v3_fail(encoder->error, EINVAL,
                           "only v3 can be compressed, %s cannot",
                           v3_format_name(options->format));
        encoder->packer = v3_packer_new(&options->compression,
                                        options->threads, encoder->error);
        if (!encoder->packer)
            return -1;
        encoder->format = &v3_encoder_packed;
    }
    if (v3_checksum_init(&encoder->context) ||
        v3_checksum_init(&encoder->batch))
        return v3_fail(encoder->error, ENOMEM,
                       "cannot allocate an encoder");
    v3_checksum_reset(&encoder->context);
    return stage(encoder, STAGE_IMAGE, sizeof(struct v2_image_header));
}

PUBLIC struct v3_encoder *
v3_encoder_new(struct v3_sink *sink, const struct v3_encoder_options *options,
               struct v3_error *error)
{
    struct v3_encoder *encoder;

    memset(error, 0, sizeof(*error));
    encoder = calloc(1, sizeof(*encoder));
    if (!encoder) {
        v3_fail(error, ENOMEM, "cannot allocate an encoder");
        return NULL;
    }
    encoder->sink = sink;
    /* One error for both: whichever fails first says why. */
    encoder->error = sink->error = error;
    encoder->pfns = (uint64_t *)(encoder->piece +
                                 sizeof(struct v2_page_data_header));
    if (encoder_init(encoder, options)) {
        v3_encoder_free(encoder);
        return NULL;
    }
    return encoder;
}

PUBLIC bool v3_encoder_ended(const struct v3_encoder *encoder)
{
    return encoder->stage == STAGE_ENDED;
}

PUBLIC void v3_encoder_totals(const struct v3_encoder *encoder,
                              struct v3_totals *totals)
{
    *totals = encoder->totals;
    totals->bytes = v3_sink_offset(encoder->sink) - encoder->start;
}

PUBLIC void v3_encoder_passes(const struct v3_encoder *encoder,
                              struct v3_passes *passes)
{
    *passes = encoder->passes;
}

PUBLIC uint64_t v3_encoder_most(enum v3_format format, uint64_t pages,
                                uint64_t others)
{
    uint64_t head = sizeof(struct v3_batch_head);
    uint64_t padded = format == V3_FORMAT_V2 ? head :
                      round_up(head, V3_ALIGNMENT_MIN);
    uint64_t index = sizeof(struct v3_index_entry);

    return pages * V2_PAGE_SIZE +
           round_up(pages, V3_BATCH_MAX) / V3_BATCH_MAX * (padded + index) +
           round_up(others, V3_BATCH_MAX) / V3_BATCH_MAX * (head + index);
}

PUBLIC void v3_encoder_free(struct v3_encoder *encoder)
{
    if (!encoder)
        return;
    v3_packer_free(encoder->packer);
    v3_checksum_free(&encoder->context);
    v3_checksum_free(&encoder->batch);
    free(encoder->index);
    free(encoder);
}
