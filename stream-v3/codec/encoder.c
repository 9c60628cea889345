/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * v2 bytes in, any format out.  The bytes arrive in pieces of any size:
 * small structures are collected until they are whole, page contents are
 * taken from where they lie.  What differs between the formats is in the
 * table of operations; encode_v3.c and encode_compat.c hold theirs.
 */
#include <sys/random.h>

#include "encoder.h"

int xensave_encoder_copy_page(struct xensave_encoder *encoder,
                              const void *page)
{
    size_t left = XENSAVE_V2_PAGE_SIZE, got;
    void *space;

    while (left) {
        space = encoder->sink->ops->space(encoder->sink, left, &got);
        if (!space)
            return -1;
        memcpy(space, page, got);
        /* Of the copy: the guest may still be writing to its page. */
        xensave_checksum_add(&encoder->part, space, got);
        encoder->sink->ops->advance(encoder->sink, got);
        page = (const uint8_t *)page + got;
        left -= got;
    }
    return 0;
}

/* ---- what the stages do when their bytes are complete ------------------ */

static int stage(struct xensave_encoder *encoder, enum stage next,
                 uint64_t need)
{
    encoder->stage = next;
    encoder->need = need;
    encoder->have = 0;
    return 0;
}

static int next_record(struct xensave_encoder *encoder)
{
    return stage(encoder, STAGE_RECORD,
                 sizeof(struct xensave_v2_record_header));
}

int xensave_encoder_emit(struct xensave_encoder *encoder, const void *data,
                         size_t length)
{
    if (encoder->format->listed)
        xensave_checksum_add(&encoder->part, data, length);
    return xensave_sink_write(encoder->sink, data, length);
}

static int fail(struct xensave_encoder *encoder, const char *what)
{
    return xensave_fail_at(encoder->error, EBADMSG,
                           encoder->start + encoder->totals.v2_bytes,
                           encoder->v2_records, "not a save stream of Xen: %s",
                           what);
}

static int image_complete(struct xensave_encoder *encoder)
{
    const struct xensave_v2_image_header *image = (const void *)encoder->piece;

    if (image->marker != XENSAVE_V2_IMAGE_MARKER ||
        be32toh(image->id) != XENSAVE_V2_IMAGE_ID)
        return fail(encoder, "no image header");
    if (be16toh(image->options) & XENSAVE_V2_IMAGE_BIG_ENDIAN)
        return fail(encoder, "big-endian");
    if (encoder->format->listed)
        xensave_checksum_add(&encoder->context, image, sizeof(*image));
    if (xensave_sink_write(encoder->sink, image, sizeof(*image)))
        return -1;
    return stage(encoder, STAGE_DOMAIN,
                 sizeof(struct xensave_v2_domain_header));
}

static int domain_complete(struct xensave_encoder *encoder)
{
    const size_t length = sizeof(struct xensave_v2_domain_header);

    if (encoder->format->listed)
        xensave_checksum_add(&encoder->context, encoder->piece, length);
    if (xensave_sink_write(encoder->sink, encoder->piece, length))
        return -1;
    /* v3 has a mark of its own to take the place of an earlier one. */
    if (encoder->options.format != XENSAVE_FORMAT_V3 &&
        xensave_sink_settle(encoder->sink))
        return -1;
    if (encoder->format->begin && encoder->format->begin(encoder))
        return -1;
    return next_record(encoder);
}

static int body_complete(struct xensave_encoder *encoder)
{
    if (xensave_encoder_end_record(encoder, &encoder->record))
        return -1;
    return next_record(encoder);
}

/* The record is handed on as it is. */
static int begin_body(struct xensave_encoder *encoder, uint64_t length)
{
    if (encoder->format->flush && encoder->format->flush(encoder))
        return -1;
    if (xensave_encoder_begin_record(encoder, &encoder->record))
        return -1;
    return length ? stage(encoder, STAGE_BODY, length)
                  : body_complete(encoder);
}

static uint64_t padded(uint32_t length)
{
    return (uint64_t)length + record_padding(length);
}

static int record_complete(struct xensave_encoder *encoder)
{
    memcpy(&encoder->record, encoder->piece, sizeof(encoder->record));
    encoder->v2_records++;
    if (encoder->record.length > XENSAVE_V2_RECORD_MAX)
        return fail(encoder, "record longer than 128 MiB");
    if (encoder->record.type == XENSAVE_V2_RECORD_END) {
        if (encoder->record.length)
            return fail(encoder, "END record with a body");
        return stage(encoder, STAGE_END, 0);
    }
    if (xensave_record_is_ours(encoder->record.type) && encoder->format->batch)
        return fail(encoder, "a record of stream v3 in it; decode it first");
    if (encoder->record.type != XENSAVE_V2_RECORD_PAGE_DATA)
        return begin_body(encoder, padded(encoder->record.length));
    if (!encoder->format->batch)
        encoder->totals.batches++;
    if (!encoder->format->batch ||
        encoder->record.length < sizeof(struct xensave_v2_page_data_header))
        return begin_body(encoder, padded(encoder->record.length));
    return stage(encoder, STAGE_PAGE_DATA,
                 sizeof(struct xensave_v2_page_data_header));
}

/* A PAGE_DATA that cannot be re-encoded; what of it is here goes first. */
static int begin_irregular(struct xensave_encoder *encoder, uint64_t here)
{
    if (begin_body(encoder, padded(encoder->record.length)) ||
        xensave_encoder_emit(encoder, encoder->piece, here))
        return -1;
    encoder->have = here;
    return encoder->have < encoder->need ? 0 : body_complete(encoder);
}

static int page_data_complete(struct xensave_encoder *encoder)
{
    uint64_t array;

    memcpy(&encoder->page_data, encoder->piece, sizeof(encoder->page_data));
    array = 8ULL * encoder->page_data.count;
    if (!encoder->page_data.count ||
        encoder->page_data.count > XENSAVE_BATCH_MAX ||
        encoder->record.length < sizeof(encoder->page_data) + array)
        return begin_irregular(encoder, sizeof(encoder->page_data));
    stage(encoder, STAGE_PFNS, sizeof(encoder->page_data) + array);
    encoder->have = sizeof(encoder->page_data);
    return 0;
}

static int batch_complete(struct xensave_encoder *encoder)
{
    encoder->totals.records++;
    if (encoder->format->batch_end(encoder))
        return -1;
    return next_record(encoder);
}

static void count_pass(struct xensave_encoder *encoder)
{
    struct xensave_passes *passes = &encoder->passes;
    const uint64_t *pfns = encoder->pfns;
    uint32_t last = encoder->page_data.count - 1;

    if (!passes->count ||
        (pfns[0] & XENSAVE_V2_PFN_MASK) <= encoder->last_pfn) {
        if (passes->count < XENSAVE_PASSES)
            passes->count++;
    }
    passes->pages[passes->count - 1] += encoder->contents;
    encoder->last_pfn = pfns[last] & XENSAVE_V2_PFN_MASK;
}

static int pfns_complete(struct xensave_encoder *encoder)
{
    struct xensave_pfns seen;

    if (!xensave_page_data_regular(&encoder->record, &encoder->page_data,
                                   encoder->pfns, &seen))
        return begin_irregular(encoder, encoder->need);
    encoder->contents = seen.contents;
    encoder->next_pfn = 0;
    encoder->totals.batches++;
    count_pass(encoder);
    if (encoder->format->batch(encoder))
        return -1;
    if (!encoder->contents)
        return batch_complete(encoder);
    return stage(encoder, STAGE_PAGE, XENSAVE_V2_PAGE_SIZE);
}

static int page_complete(struct xensave_encoder *encoder, const void *page)
{
    while (!xensave_pfn_has_contents(encoder->pfns[encoder->next_pfn]))
        encoder->next_pfn++;
    if (encoder->format->page(encoder, page))
        return -1;
    encoder->next_pfn++;
    if (!--encoder->contents)
        return batch_complete(encoder);
    return stage(encoder, STAGE_PAGE, XENSAVE_V2_PAGE_SIZE);
}

static int end_complete(struct xensave_encoder *encoder)
{
    static const struct xensave_v2_record_header end = { XENSAVE_V2_RECORD_END,
                                                         0 };

    if (encoder->format->end && encoder->format->end(encoder))
        return -1;
    if (xensave_sink_write(encoder->sink, &end, sizeof(end)))
        return -1;
    encoder->totals.records++;
    if (xensave_sink_finish(encoder->sink))
        return -1;
    if (encoder->format->finished && encoder->format->finished(encoder))
        return -1;
    return stage(encoder, STAGE_ENDED, 0);
}

/* ---- stages ------------------------------------------------------------- */

static int (*const complete[])(struct xensave_encoder *) = {
    [STAGE_IMAGE] = image_complete,   [STAGE_DOMAIN] = domain_complete,
    [STAGE_RECORD] = record_complete, [STAGE_PAGE_DATA] = page_data_complete,
    [STAGE_PFNS] = pfns_complete,     [STAGE_BODY] = body_complete,
};

/* Takes what it can of `data`; returns how much, or -1. */
static ssize_t consume(struct xensave_encoder *encoder, const uint8_t *data,
                       size_t length)
{
    size_t part = min_u64(length, encoder->need - encoder->have);
    uint8_t *to = encoder->stage == STAGE_PAGE ? encoder->page
                                               : encoder->piece;
    int r = 0;

    if (encoder->stage == STAGE_BODY) {
        if (xensave_encoder_emit(encoder, data, part))
            return -1;
    } else if (encoder->stage == STAGE_PAGE && part == XENSAVE_V2_PAGE_SIZE) {
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

PUBLIC int xensave_encoder_push(struct xensave_encoder *encoder,
                                const void *data, size_t length)
{
    ssize_t taken;

    for (; length; length -= taken) {
        if (encoder->error->text[0])
            return -1;
        if (encoder->stage == STAGE_ENDED)
            return fail(encoder, "bytes behind the END record");
        taken = consume(encoder, data, length);
        if (taken < 0)
            return -1;
        data = (const uint8_t *)data + taken;
    }
    return encoder->error->text[0] ? -1 : 0;
}

PUBLIC int xensave_encoder_pushv(struct xensave_encoder *encoder,
                                 const struct iovec *iov, int iovcnt)
{
    for (int i = 0; i < iovcnt; i++)
        if (xensave_encoder_push(encoder, iov[i].iov_base, iov[i].iov_len))
            return -1;
    return 0;
}

/* ---- v2: everything as it is -------------------------------------------- */

static const struct xensave_encoder_format v2_format = { .batch = NULL };

static const struct xensave_encoder_format *const formats[] = {
    [XENSAVE_FORMAT_V2] = &v2_format,
    [XENSAVE_FORMAT_COMPAT] = &xensave_encoder_compat,
    [XENSAVE_FORMAT_V3] = &xensave_encoder_v3,
};

static int begin_identity(struct xensave_encoder *encoder)
{
    const struct xensave_encoder_options *options = &encoder->options;
    static const uint8_t none[XENSAVE_FILE_ID];
    uint8_t *file_id = encoder->header.body.file_id;

    memcpy(file_id, options->file_id, XENSAVE_FILE_ID);
    if (!memcmp(file_id, none, sizeof(none)) &&
        getrandom(file_id, sizeof(none), 0) != sizeof(none))
        return xensave_fail(encoder->error, errno,
                            "no random number for the stream: %s",
                            strerror(errno));
    xensave_checksum_reset(&encoder->context);
    xensave_checksum_add(&encoder->context, file_id, XENSAVE_FILE_ID);
    if (!options->identity)
        return 0;
    if (!xensave_identity_fits(options->identity))
        return xensave_fail(encoder->error, EINVAL,
                            "the identity of the stream is not made of lines "
                            "key=value of at most %u bytes in all",
                            XENSAVE_IDENTITY_MAX);
    encoder->identity = strdup(options->identity);
    return encoder->identity ? 0
                             : xensave_fail(encoder->error, ENOMEM,
                                            "cannot allocate an encoder");
}

static int encoder_init(struct xensave_encoder *encoder,
                        const struct xensave_encoder_options *given)
{
    const struct xensave_encoder_options *options = &encoder->options;

    if (xensave_options_copy(&encoder->options, sizeof(encoder->options),
                             given, encoder->error))
        return -1;
    if ((size_t)options->format >= ARRAY_SIZE(formats))
        return xensave_fail(encoder->error, EINVAL, "no such stream format");
    encoder->format = formats[options->format];
    encoder->start = xensave_sink_offset(encoder->sink);
    if (options->format == XENSAVE_FORMAT_COMPAT && encoder->start % 8)
        return xensave_fail(
            encoder->error, EINVAL,
            "compat needs a stream that starts at a multiple of "
            "8, this one starts at %llu; use v3",
            (unsigned long long)encoder->start);
    if (options->compression.codec != XENSAVE_CODEC_NONE) {
        if (options->format != XENSAVE_FORMAT_V3)
            return xensave_fail(encoder->error, EINVAL,
                                "only v3 can be compressed, %s cannot",
                                xensave_format_name(options->format));
        encoder->packer = xensave_packer_new(&options->compression,
                                             options->threads, encoder->error);
        if (!encoder->packer)
            return -1;
        encoder->format = &xensave_encoder_packed;
    }
    if (xensave_checksum_init(&encoder->context) ||
        xensave_checksum_init(&encoder->part))
        return xensave_fail(encoder->error, ENOMEM,
                            "cannot allocate an encoder");
    if (encoder->format->listed && begin_identity(encoder))
        return -1;
    return stage(encoder, STAGE_IMAGE, sizeof(struct xensave_v2_image_header));
}

PUBLIC struct xensave_encoder *xensave_encoder_new(
    struct xensave_sink *sink, const struct xensave_encoder_options *options)
{
    struct xensave_encoder *encoder;

    if (sink->error->text[0])
        return NULL;
    encoder = calloc(1, sizeof(*encoder));
    if (!encoder) {
        xensave_fail(sink->error, ENOMEM, "cannot allocate an encoder");
        return NULL;
    }
    encoder->sink = sink;
    encoder->error = sink->error;
    encoder->pfns = (uint64_t *)(encoder->piece +
                                 sizeof(struct xensave_v2_page_data_header));
    if (encoder_init(encoder, options)) {
        xensave_encoder_free(encoder);
        return NULL;
    }
    return encoder;
}

PUBLIC bool xensave_encoder_ended(const struct xensave_encoder *encoder)
{
    return encoder->stage == STAGE_ENDED;
}

PUBLIC void xensave_encoder_totals(const struct xensave_encoder *encoder,
                                   struct xensave_totals *totals)
{
    *totals = encoder->totals;
    totals->bytes = xensave_sink_offset(encoder->sink) - encoder->start;
}

PUBLIC void xensave_encoder_passes(const struct xensave_encoder *encoder,
                                   struct xensave_passes *passes)
{
    *passes = encoder->passes;
}

PUBLIC uint64_t xensave_encoder_most(enum xensave_format format,
                                     uint64_t pages, uint64_t others)
{
    /* Without frames, and with those of full batches. */
    uint64_t others_head = offsetof(struct xensave_batch_head, arrays) +
                           8 * XENSAVE_BATCH_MAX;
    bool v3 = format == XENSAVE_FORMAT_V3;
    uint64_t frames = XENSAVE_FRAME_ENTRY * XENSAVE_BATCH_MAX >>
                      XENSAVE_FRAME_LOG_PLAIN;
    uint64_t head = others_head + (v3 ? frames : 0);
    uint64_t padded = format == XENSAVE_FORMAT_V2
                          ? head
                          : round_up(head, XENSAVE_ALIGNMENT_MIN);
    uint64_t index = v3 ? sizeof(struct xensave_index_batch) : 0;

    return pages * XENSAVE_V2_PAGE_SIZE +
           round_up(pages, XENSAVE_BATCH_MAX) / XENSAVE_BATCH_MAX *
               (padded + index) +
           round_up(others, XENSAVE_BATCH_MAX) / XENSAVE_BATCH_MAX *
               (others_head + index);
}

PUBLIC void xensave_encoder_free(struct xensave_encoder *encoder)
{
    if (!encoder)
        return;
    xensave_packer_free(encoder->packer);
    xensave_checksum_free(&encoder->context);
    xensave_checksum_free(&encoder->part);
    free(encoder->batches.bytes);
    free(encoder->records.bytes);
    free(encoder->identity);
    free(encoder);
}
