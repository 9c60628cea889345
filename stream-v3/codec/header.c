/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a stream begins with: ALIGNED_HEADER (spec 3.1), PADDING (3.4). */
#include <inttypes.h>
#include <xxh_x86dispatch.h>

#include "record.h"

#define KNOWN_MANDATORY (XENSAVE_MANDATORY_LZ4 | XENSAVE_MANDATORY_ZSTD)

static uint64_t header_checksum(const struct xensave_header_record *header)
{
    struct xensave_header_record copy = *header;

    copy.body.header_checksum = 0;
    return XXH3_64bits(&copy, xensave_header_length(&copy));
}

void xensave_header_seal(struct xensave_header_record *header)
{
    header->body.header_checksum = header_checksum(header);
}

static int refuse_features(uint64_t unknown, uint64_t offset,
                           struct xensave_error *error)
{
    int bit = __builtin_ctzll(unknown);

    return xensave_fail_at(error, ENOTSUP, offset, 0,
                           "stream needs unknown mandatory feature bit %d; "
                           "use a newer version of this software",
                           bit);
}

static int refuse_totals(const struct xensave_aligned_header *body,
                         uint64_t offset, struct xensave_error *error)
{
    if (body->state == XENSAVE_STATE_STREAMED &&
        (body->stream_length | body->file_length | body->index_offset |
         body->batches | body->pages_stored | body->pages_zero |
         body->head_checksum | body->tail_checksum))
        return xensave_fail_at(error, EBADMSG, offset, 0,
                               "ALIGNED_HEADER of a streamed save has totals; "
                               "the stream is damaged");
    if (body->state == XENSAVE_STATE_COMPLETE &&
        (body->stream_length < XENSAVE_STREAM_LEAST ||
         body->stream_start > body->file_length ||
         body->stream_length > body->file_length - body->stream_start ||
         body->index_offset >= body->stream_length))
        return xensave_fail_at(
            error, EBADMSG, offset, 0,
            "ALIGNED_HEADER has lengths that contradict each "
            "other; the stream is damaged");
    return 0;
}

int xensave_header_validate(const struct xensave_header_record *header,
                            uint64_t offset, struct xensave_error *error)
{
    const struct xensave_aligned_header *body = &header->body;

    if (header->record.type != XENSAVE_RECORD_HEADER ||
        !xensave_header_length_fits(header->record.length) ||
        memcmp(body->magic, XENSAVE_MAGIC, sizeof(body->magic)))
        return xensave_fail_at(error, EBADMSG, offset, 0,
                               "ALIGNED_HEADER is malformed; the stream is "
                               "damaged");
    if (body->header_checksum != header_checksum(header))
        return xensave_fail_at(
            error, EBADMSG, offset, 0,
            "ALIGNED_HEADER does not match its checksum; the "
            "stream is damaged");
    if (body->min_reader_version > XENSAVE_VERSION)
        return xensave_fail_at(error, ENOTSUP, offset, 0,
                               "stream needs a reader of version %" PRIu32
                               ", this is version %u; use a newer version of "
                               "this software",
                               body->min_reader_version, XENSAVE_VERSION);
    if (body->mandatory_features & ~KNOWN_MANDATORY)
        return refuse_features(body->mandatory_features & ~KNOWN_MANDATORY,
                               offset, error);
    if (body->version < XENSAVE_VERSION ||
        body->min_reader_version < XENSAVE_VERSION ||
        body->state > XENSAVE_STATE_COMPLETE ||
        body->alignment < XENSAVE_ALIGNMENT_MIN ||
        body->alignment > XENSAVE_ALIGNMENT_MAX ||
        (body->alignment & (body->alignment - 1)))
        return xensave_fail_at(
            error, EBADMSG, offset, 0,
            "ALIGNED_HEADER has a version, state or alignment "
            "that does not exist; the stream is damaged");
    return refuse_totals(body, offset, error);
}

/* ---- PADDING ------------------------------------------------------------ */

void xensave_padding_init(struct xensave_padding_record *padding,
                          uint32_t kind)
{
    memset(padding, 0, sizeof(*padding));
    padding->record.type = XENSAVE_RECORD_PADDING;
    padding->record.length = sizeof(padding->body);
    memcpy(padding->body.magic, XENSAVE_MAGIC, sizeof(padding->body.magic));
    padding->body.kind = kind;
}

uint64_t xensave_padding_start_checksum(
    const struct xensave_padding_record *padding)
{
    struct xensave_padding_record copy = *padding;

    copy.body.checksum = 0;
    return XXH3_64bits(&copy, sizeof(copy));
}

bool xensave_padding_is_start(const struct xensave_padding_record *padding)
{
    return padding->record.length == sizeof(padding->body) &&
           !memcmp(padding->body.magic, XENSAVE_MAGIC,
                   sizeof(padding->body.magic)) &&
           padding->body.kind == XENSAVE_PADDING_START &&
           padding->body.head_padding < 8 &&
           padding->body.checksum == xensave_padding_start_checksum(padding);
}

bool xensave_padding_is_batch(const struct xensave_padding_record *padding)
{
    return !memcmp(padding->body.magic, XENSAVE_MAGIC,
                   sizeof(padding->body.magic)) &&
           padding->body.kind == XENSAVE_PADDING_BATCH &&
           !padding->body.head_padding;
}
