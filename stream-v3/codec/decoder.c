/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any format in, v2 bytes out.  The stream is walked record by record; each
 * becomes something to hand out: a structure that is in memory, a body that
 * comes straight from the source, or the pages of a batch, which are handed
 * out only when the checksum of all of them has matched.
 */
#include <inttypes.h>
#include <stdarg.h>

#include "decoder.h"

#define COPY_STEP 262144U

int xensave_decoder_fail(struct xensave_decoder *decoder, const char *format,
                         ...)
{
    char what[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    return xensave_fail_at(decoder->error, EBADMSG, decoder->record_offset,
                           decoder->record_number, "%s", what);
}

static void hand_out(struct xensave_decoder *decoder, const void *piece,
                     size_t length)
{
    decoder->piece = piece;
    decoder->piece_left = length;
}

int xensave_decoder_zeros(struct xensave_decoder *decoder, uint64_t length)
{
    static const uint8_t zeros[4096];
    uint8_t bytes[4096];
    size_t part;

    for (; length; length -= part) {
        part = min_u64(length, sizeof(bytes));
        if (xensave_source_read(decoder->source, bytes, part))
            return -1;
        if (memcmp(bytes, zeros, part))
            return xensave_decoder_fail(decoder,
                                        "%s has padding that is not zero; the "
                                        "stream is damaged",
                                        xensave_record_name(
                                            decoder->record.type)
                                            ?: "unknown");
    }
    return 0;
}

int xensave_decoder_pass_record(struct xensave_decoder *decoder)
{
    if (decoder->format->context)
        xensave_checksum_add(&decoder->context, &decoder->record,
                             sizeof(decoder->record));
    hand_out(decoder, &decoder->record, sizeof(decoder->record));
    decoder->body_left = (uint64_t)decoder->record.length +
                         record_padding(decoder->record.length);
    return 0;
}

/* ---- the walk ----------------------------------------------------------- */

static int begin_image(struct xensave_decoder *decoder)
{
    struct xensave_v2_image_header *image = (void *)decoder->pfns;

    if (xensave_source_read(decoder->source, image, sizeof(*image)))
        return -1;
    if (image->marker != XENSAVE_V2_IMAGE_MARKER ||
        be32toh(image->id) != XENSAVE_V2_IMAGE_ID)
        return xensave_decoder_fail(decoder,
                                    "no image header of a save stream "
                                    "of Xen; this is another kind of file");
    if (be16toh(image->options) & XENSAVE_V2_IMAGE_BIG_ENDIAN)
        return xensave_decoder_fail(decoder, "big-endian streams are not "
                                             "supported");
    xensave_checksum_add(&decoder->context, image, sizeof(*image));
    hand_out(decoder, image, sizeof(*image));
    decoder->phase = PHASE_DOMAIN;
    return 0;
}

static int begin_domain(struct xensave_decoder *decoder)
{
    struct xensave_v2_domain_header *domain = (void *)decoder->pfns;

    if (xensave_source_read(decoder->source, domain, sizeof(*domain)))
        return -1;
    xensave_checksum_add(&decoder->context, domain, sizeof(*domain));
    hand_out(decoder, domain, sizeof(*domain));
    decoder->phase = PHASE_FIRST_RECORD;
    return 0;
}

static int read_record_header(struct xensave_decoder *decoder)
{
    decoder->record_offset = xensave_source_offset(decoder->source);
    decoder->record_number = decoder->totals.records;
    if (xensave_source_read(decoder->source, &decoder->record,
                            sizeof(decoder->record)))
        return -1;
    return 0;
}

const struct xensave_decoder_format xensave_decoder_v2 = {
    .format = XENSAVE_FORMAT_V2,
    .record = xensave_decoder_pass_record,
};

/* The first record tells the format. */
static void find_format(struct xensave_decoder *decoder)
{
    decoder->format = &xensave_decoder_v2;
    if (decoder->record.type == XENSAVE_RECORD_HEADER)
        decoder->format = &xensave_decoder_v3;
    else if (decoder->record.type == XENSAVE_RECORD_PADDING)
        decoder->format = &xensave_decoder_compat;
}

static int begin_end(struct xensave_decoder *decoder)
{
    if (decoder->format->end && decoder->format->end(decoder))
        return -1;
    hand_out(decoder, &decoder->record, sizeof(decoder->record));
    decoder->phase = PHASE_ENDED;
    return xensave_source_finish(decoder->source);
}

static int begin_record(struct xensave_decoder *decoder)
{
    int r;

    if (read_record_header(decoder))
        return -1;
    if (decoder->phase == PHASE_FIRST_RECORD)
        find_format(decoder);
    decoder->announced = decoder->order.announced;
    if (xensave_record_check(&decoder->order, decoder->format->format,
                             &decoder->record, decoder->record_offset,
                             decoder->record_number, decoder->error))
        return -1;
    if (decoder->record.type == XENSAVE_V2_RECORD_END)
        r = begin_end(decoder);
    else
        r = decoder->format->record(decoder);
    if (r)
        return -1;
    if (decoder->record.type == XENSAVE_V2_RECORD_PAGE_DATA &&
        decoder->format->format == XENSAVE_FORMAT_V2)
        decoder->totals.batches++;
    decoder->totals.records++;
    if (decoder->phase == PHASE_FIRST_RECORD)
        decoder->phase = PHASE_RECORD;
    return 0;
}

static int (*const begin[])(struct xensave_decoder *) = {
    [PHASE_IMAGE] = begin_image,
    [PHASE_DOMAIN] = begin_domain,
    [PHASE_FIRST_RECORD] = begin_record,
    [PHASE_RECORD] = begin_record,
};

/* ---- pages -------------------------------------------------------------- */

/* Stored bytes, into the checksum while they are in the CPU's cache. */
int xensave_decoder_read_stored(struct xensave_decoder *decoder, uint8_t *to,
                                size_t length)
{
    size_t part;

    for (; length; to += part, length -= part) {
        part = min_u64(length, COPY_STEP);
        if (xensave_source_read(decoder->source, to, part))
            return -1;
        xensave_checksum_add(&decoder->batch, to, part);
    }
    return 0;
}

int xensave_decoder_check_batch(struct xensave_decoder *decoder)
{
    uint32_t count = decoder->v2.page_data.count;

    if (decoder->format->format == XENSAVE_FORMAT_V3) {
        struct xensave_aligned_page_data aligned = decoder->aligned;

        aligned.checksum = 0;
        xensave_checksum_add(&decoder->batch, &decoder->record,
                             sizeof(decoder->record));
        xensave_checksum_add(&decoder->batch, &aligned, sizeof(aligned));
        xensave_checksum_add(&decoder->batch, decoder->pfns, 8ULL * count);
    } else {
        xensave_checksum_add(&decoder->batch, &decoder->v2,
                             sizeof(decoder->v2.record) +
                                 sizeof(decoder->v2.page_data) + 8ULL * count);
    }
    if (xensave_checksum_get(&decoder->batch) != decoder->expected)
        return xensave_decoder_fail(
            decoder,
            "batch of %" PRIu32 " pfns, 0x%" PRIx64 " to 0x%" PRIx64
            ", does not match its "
            "checksum; the stream is damaged",
            count, (uint64_t)(decoder->v2.pfns[0] & XENSAVE_V2_PFN_MASK),
            (uint64_t)(decoder->v2.pfns[count - 1] & XENSAVE_V2_PFN_MASK));
    return 0;
}

/* All pages of the batch, in the order of its pfns. */
static int read_pages(struct xensave_decoder *decoder, uint8_t *to)
{
    uint32_t count = decoder->v2.page_data.count, run = 0;
    uint64_t zero = decoder->format->format == XENSAVE_FORMAT_V3
                        ? XENSAVE_PFN_ZERO
                        : 0;

    /* compat leaves the header of a v3 batch as it began: zeros. */
    if (xensave_batch_codec(&decoder->aligned))
        return xensave_decoder_read_packed(decoder, to);
    for (uint32_t i = 0; i < count; i++) {
        if (!xensave_pfn_has_contents(decoder->pfns[i]))
            continue;
        if (!(decoder->pfns[i] & zero)) {
            run++;
            continue;
        }
        if (xensave_decoder_read_stored(decoder, to,
                                        (size_t)run * XENSAVE_V2_PAGE_SIZE))
            return -1;
        to += (size_t)run * XENSAVE_V2_PAGE_SIZE;
        memset(to, 0, XENSAVE_V2_PAGE_SIZE);
        to += XENSAVE_V2_PAGE_SIZE;
        run = 0;
    }
    if (xensave_decoder_read_stored(decoder, to,
                                    (size_t)run * XENSAVE_V2_PAGE_SIZE))
        return -1;
    if (xensave_decoder_zeros(decoder, record_padding(decoder->record.length)))
        return -1;
    return xensave_decoder_check_batch(decoder);
}

int xensave_decoder_begin_batch(struct xensave_decoder *decoder)
{
    hand_out(decoder, &decoder->v2,
             sizeof(decoder->v2.record) + sizeof(decoder->v2.page_data) +
                 8ULL * decoder->v2.page_data.count);
    decoder->pages_pending = decoder->contents;
    return decoder->contents ? 0 : read_pages(decoder, NULL);
}

static int stage_pages(struct xensave_decoder *decoder)
{
    size_t length = (size_t)decoder->contents * XENSAVE_V2_PAGE_SIZE;

    if (!decoder->staging) {
        decoder->staging = malloc((size_t)XENSAVE_BATCH_MAX *
                                  XENSAVE_V2_PAGE_SIZE);
        if (!decoder->staging)
            return xensave_fail(decoder->error, ENOMEM,
                                "cannot allocate memory for a batch");
    }
    decoder->pages_pending = false;
    if (read_pages(decoder, decoder->staging))
        return -1;
    hand_out(decoder, decoder->staging, length);
    return 0;
}

/* ---- handing out -------------------------------------------------------- */

static ssize_t give_body(struct xensave_decoder *decoder, uint8_t *to,
                         size_t length)
{
    length = min_u64(length, decoder->body_left);
    if (xensave_source_read(decoder->source, to, length))
        return -1;
    decoder->body_left -= length;
    if (decoder->format->context)
        xensave_checksum_add(&decoder->context, to, length);
    return length;
}

/* Some bytes of what is next; 0 only at the end of the stream. */
static ssize_t find_bytes(struct xensave_decoder *decoder, uint8_t *to,
                          size_t length)
{
    size_t pages;

    for (;;) {
        if (decoder->error->text[0])
            return -1;
        if (decoder->piece_left) {
            length = min_u64(length, decoder->piece_left);
            memcpy(to, decoder->piece, length);
            decoder->piece += length;
            decoder->piece_left -= length;
            return length;
        }
        if (decoder->body_left)
            return give_body(decoder, to, length);
        pages = (size_t)decoder->contents * XENSAVE_V2_PAGE_SIZE;
        if (decoder->pages_pending && length >= pages) {
            decoder->pages_pending = false;
            return read_pages(decoder, to) ? -1 : (ssize_t)pages;
        } else if (decoder->pages_pending) {
            if (stage_pages(decoder))
                return -1;
        } else if (decoder->phase == PHASE_ENDED) {
            return 0;
        } else if (begin[decoder->phase](decoder)) {
            return -1;
        }
    }
}

static ssize_t give(struct xensave_decoder *decoder, void *to, size_t length)
{
    ssize_t given = find_bytes(decoder, to, length);

    if (given > 0)
        decoder->totals.v2_bytes += given;
    return given;
}

PUBLIC ssize_t xensave_decoder_read_some(struct xensave_decoder *decoder,
                                         void *data, size_t length)
{
    return length ? give(decoder, data, length) : 0;
}

PUBLIC int xensave_decoder_read(struct xensave_decoder *decoder, void *data,
                                size_t length)
{
    ssize_t given;

    for (; length; length -= given) {
        given = give(decoder, data, length);
        if (given < 0)
            return -1;
        if (!given)
            return xensave_fail_at(decoder->error, ENODATA,
                                   xensave_source_offset(decoder->source),
                                   decoder->totals.records,
                                   "read past the END record");
        data = (uint8_t *)data + given;
    }
    return 0;
}

/* ---- life --------------------------------------------------------------- */

PUBLIC struct xensave_decoder *xensave_decoder_new(
    struct xensave_source *source)
{
    struct xensave_decoder *decoder;

    if (source->error->text[0])
        return NULL;
    decoder = calloc(1, sizeof(*decoder));
    if (!decoder || xensave_checksum_init(&decoder->context) ||
        xensave_checksum_init(&decoder->batch)) {
        xensave_fail(source->error, ENOMEM, "cannot allocate a decoder");
        xensave_decoder_free(decoder);
        return NULL;
    }
    xensave_checksum_reset(&decoder->context);
    decoder->source = source;
    decoder->error = source->error;
    decoder->format = &xensave_decoder_v2;
    decoder->start = xensave_source_offset(source);
    decoder->record_offset = decoder->start;
    return decoder;
}

PUBLIC bool xensave_decoder_ended(const struct xensave_decoder *decoder)
{
    return decoder->phase == PHASE_ENDED && !decoder->piece_left;
}

PUBLIC enum xensave_format xensave_decoder_format(
    const struct xensave_decoder *decoder)
{
    return decoder->format->format;
}

PUBLIC uint32_t
xensave_decoder_head_padding(const struct xensave_decoder *decoder)
{
    return decoder->head_padding;
}

PUBLIC void xensave_decoder_totals(const struct xensave_decoder *decoder,
                                   struct xensave_totals *totals)
{
    *totals = decoder->totals;
    totals->bytes = xensave_source_offset(decoder->source) - decoder->start;
}

PUBLIC void xensave_decoder_free(struct xensave_decoder *decoder)
{
    if (!decoder)
        return;
    xensave_checksum_free(&decoder->context);
    xensave_checksum_free(&decoder->batch);
    xensave_unpacker_free(&decoder->unpacker);
    free(decoder->staging);
    free(decoder);
}
