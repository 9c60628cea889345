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

/* ---- records that are not batches --------------------------------------- */

void xensave_decoder_begin_part(struct xensave_decoder *decoder)
{
    if (!decoder->format->listed)
        return;
    xensave_checksum_reset(&decoder->part);
    xensave_checksum_add(&decoder->part, decoder->header.body.file_id,
                         XENSAVE_FILE_ID);
    xensave_checksum_add(&decoder->part, &decoder->record,
                         sizeof(decoder->record));
}

/* All bytes of the record are in `part`. */
void xensave_decoder_end_part(struct xensave_decoder *decoder)
{
    struct xensave_index_record entry = {
        .offset = decoder->record_offset - decoder->start,
        .type = decoder->record.type,
        .length = decoder->record.length,
    };

    if (!decoder->format->listed)
        return;
    entry.checksum = xensave_checksum_get(&decoder->part);
    xensave_checksum_add(&decoder->context, &entry.checksum, 8);
    xensave_checksum_add(&decoder->records, &entry, sizeof(entry));
    decoder->listed++;
}

static uint64_t body_length(const struct xensave_decoder *decoder)
{
    return (uint64_t)decoder->record.length +
           record_padding(decoder->record.length);
}

int xensave_decoder_pass_record(struct xensave_decoder *decoder)
{
    xensave_decoder_begin_part(decoder);
    hand_out(decoder, &decoder->record, sizeof(decoder->record));
    decoder->body_left = body_length(decoder);
    if (!decoder->body_left)
        xensave_decoder_end_part(decoder);
    return 0;
}

int xensave_decoder_read_part(struct xensave_decoder *decoder, void *to,
                              size_t length)
{
    if (xensave_source_read(decoder->source, to, length))
        return -1;
    xensave_checksum_add(&decoder->part, to, length);
    return 0;
}

static int skip_record(struct xensave_decoder *decoder)
{
    uint64_t left = body_length(decoder), part;
    uint8_t bytes[4096];

    if (!decoder->format->listed)
        return xensave_source_skip(decoder->source, left);
    xensave_decoder_begin_part(decoder);
    for (; left; left -= part) {
        part = min_u64(left, sizeof(bytes));
        if (xensave_decoder_read_part(decoder, bytes, part))
            return -1;
    }
    xensave_decoder_end_part(decoder);
    return 0;
}

/* ---- the walk ----------------------------------------------------------- */

static int begin_image(struct xensave_decoder *decoder)
{
    struct xensave_v2_image_header *image = &decoder->heads.image;

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
    hand_out(decoder, image, sizeof(*image));
    decoder->phase = PHASE_DOMAIN;
    return 0;
}

static int begin_domain(struct xensave_decoder *decoder)
{
    struct xensave_v2_domain_header *domain = &decoder->heads.domain;

    if (xensave_source_read(decoder->source, domain, sizeof(*domain)))
        return -1;
    hand_out(decoder, domain, sizeof(*domain));
    decoder->phase = PHASE_FIRST_RECORD;
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

static int begin_checked(struct xensave_decoder *decoder)
{
    const uint32_t type = decoder->record.type;

    if (type == XENSAVE_V2_RECORD_END)
        return begin_end(decoder);
    if (xensave_record_is_skipped(type))
        return skip_record(decoder);
    return decoder->format->record(decoder);
}

int xensave_decoder_read_record(struct xensave_decoder *decoder)
{
    decoder->record_offset = xensave_source_offset(decoder->source);
    decoder->record_number = decoder->records_read;
    if (xensave_source_read(decoder->source, &decoder->record,
                            sizeof(decoder->record)))
        return -1;
    decoder->records_read++;
    if (decoder->phase == PHASE_FIRST_RECORD)
        find_format(decoder);
    decoder->announced = decoder->order.announced;
    return xensave_record_check(&decoder->order, decoder->format->format,
                                &decoder->record, decoder->record_offset,
                                decoder->record_number, decoder->error);
}

static int begin_record(struct xensave_decoder *decoder)
{
    bool begun = false;

    if (decoder->ring ? xensave_decoder_ahead(decoder, &begun)
                      : xensave_decoder_read_record(decoder))
        return -1;
    if (!begun && begin_checked(decoder))
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

int xensave_decoder_begin_batch(struct xensave_decoder *decoder)
{
    hand_out(decoder, &decoder->v2,
             sizeof(decoder->v2.record) + sizeof(decoder->v2.page_data) +
                 8ULL * decoder->v2.page_data.count);
    decoder->pages_pending = decoder->contents;
    return decoder->contents ? 0 : decoder->format->pages(decoder, NULL);
}

uint8_t *xensave_decoder_room(struct xensave_decoder *decoder, uint8_t **room)
{
    if (!*room)
        *room = malloc((size_t)XENSAVE_BATCH_MAX * XENSAVE_V2_PAGE_SIZE);
    if (!*room)
        xensave_fail(decoder->error, ENOMEM,
                     "cannot allocate memory for a batch");
    return *room;
}

static int stage_pages(struct xensave_decoder *decoder)
{
    size_t length = (size_t)decoder->contents * XENSAVE_V2_PAGE_SIZE;

    if (!xensave_decoder_room(decoder, &decoder->staging))
        return -1;
    decoder->pages_pending = false;
    if (decoder->format->pages(decoder, decoder->staging))
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
    if (decoder->format->listed)
        xensave_checksum_add(&decoder->part, to, length);
    if (!decoder->body_left)
        xensave_decoder_end_part(decoder);
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
            return decoder->format->pages(decoder, to) ? -1 : (ssize_t)pages;
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
        xensave_checksum_init(&decoder->part) ||
        xensave_checksum_init(&decoder->batches) ||
        xensave_checksum_init(&decoder->records)) {
        xensave_fail(source->error, ENOMEM, "cannot allocate a decoder");
        xensave_decoder_free(decoder);
        return NULL;
    }
    xensave_checksum_reset(&decoder->context);
    xensave_checksum_reset(&decoder->batches);
    xensave_checksum_reset(&decoder->records);
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

PUBLIC const char *xensave_decoder_identity(
    const struct xensave_decoder *decoder)
{
    return decoder->identity;
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
    xensave_checksum_free(&decoder->part);
    xensave_checksum_free(&decoder->batches);
    xensave_checksum_free(&decoder->records);
    xensave_unpack_ring_free(decoder->ring);
    xensave_unpacker_free(&decoder->unpacker);
    free(decoder->identity);
    free(decoder->staging);
    free(decoder->stored);
    free(decoder);
}
