/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records: what encoder, decoder, walk and index have to agree on. */
#ifndef XENSAVE_RECORD_H
#define XENSAVE_RECORD_H

#include "stream-v3/internal.h"

/* The bytes of padding behind a record of this length. */
static inline uint32_t record_padding(uint32_t length)
{
    return -length & 7;
}

/* What comes before the first record. */
#define XENSAVE_STREAM_HEADERS                \
    (sizeof(struct xensave_v2_image_header) + \
     sizeof(struct xensave_v2_domain_header))

/* ---- header.c ----------------------------------------------------------- */

struct xensave_header_record {
    struct xensave_v2_record_header record;
    struct xensave_aligned_header body;
    /* Of later versions: the length of the record says how many. */
    uint8_t later[XENSAVE_HEADER_MAX - sizeof(struct xensave_aligned_header)];
};

static inline size_t xensave_header_length(
    const struct xensave_header_record *header)
{
    return sizeof(header->record) + header->record.length;
}

/*
 * No stream is shorter than its headers, ALIGNED_CHECK and END.  The tail of
 * one that were would have ALIGNED_HEADER in it, which the commit rewrites.
 */
#define XENSAVE_STREAM_LEAST                                          \
    (XENSAVE_STREAM_HEADERS + sizeof(struct xensave_aligned_header) + \
     sizeof(struct xensave_aligned_check) +                           \
     3 * sizeof(struct xensave_v2_record_header))

void xensave_header_seal(struct xensave_header_record *header);
/* So much may be read of it. */
static inline bool xensave_header_length_fits(uint32_t length)
{
    return length >= sizeof(struct xensave_aligned_header) &&
           length <= XENSAVE_HEADER_MAX && length % 8 == 0;
}
/* `offset` is the record's, for the error.  All of it has been read. */
int xensave_header_validate(const struct xensave_header_record *header,
                            uint64_t offset, struct xensave_error *error);

struct xensave_padding_record {
    struct xensave_v2_record_header record;
    struct xensave_padding body;
};

void xensave_padding_init(struct xensave_padding_record *padding,
                          uint32_t kind);
uint64_t xensave_padding_start_checksum(
    const struct xensave_padding_record *padding);
/* The whole record is what begins a compat stream. */
bool xensave_padding_is_start(const struct xensave_padding_record *padding);
/* It holds the checksum of the batch behind it. */
bool xensave_padding_is_batch(const struct xensave_padding_record *padding);

/* ---- identity.c ---------------------------------------------------------- */

/* Lines "key=value", each with its newline, are as spec 3.7 says. */
bool xensave_identity_fits(const char *lines);
/* Makes the body of a record of them, in place; returns its length. */
size_t xensave_identity_to_body(char *text);
/* The reverse; `body` has room for a NUL.  False if it is malformed. */
bool xensave_identity_from_body(char *body, size_t length);

/* ---- record.c ----------------------------------------------------------- */

static inline bool xensave_pfn_has_contents(uint64_t pfn)
{
    return pfn >> XENSAVE_V2_PFN_TYPE_SHIFT < XENSAVE_V2_PFN_TYPE_BROKEN;
}

struct xensave_pfns {
    uint32_t contents, stored; /* stored: contents without the zero pages */
    uint64_t first, last;      /* of those with contents */
};
/* False if a pfn of a batch is invalid.  `zero_bit`: ALIGNED_PAGE_DATA. */
bool xensave_pfns_check(const uint64_t *pfns, uint32_t count, bool zero_bit,
                        struct xensave_pfns *seen);

/* Spec 3.3: this PAGE_DATA gives the same bytes back when re-encoded. */
bool xensave_page_data_regular(
    const struct xensave_v2_record_header *record,
    const struct xensave_v2_page_data_header *page_data, const uint64_t *pfns,
    struct xensave_pfns *seen);

/* Of the types that spec 3 reserves for this format. */
static inline bool xensave_record_is_ours(uint32_t type)
{
    return (type & XENSAVE_RECORD_VENDOR_MASK) == XENSAVE_RECORD_VENDOR;
}

/* Where a record may stand: these follow each other, BODY many times. */
enum xensave_place {
    XENSAVE_PLACE_NONE, /* not read anything yet */
    XENSAVE_PLACE_FIRST,
    XENSAVE_PLACE_IDENTITY,
    XENSAVE_PLACE_BODY,
    XENSAVE_PLACE_INDEX,
    XENSAVE_PLACE_CHECK,
    XENSAVE_PLACE_END,
};

/* What a reader of records has come across; zero before the first. */
struct xensave_order {
    enum xensave_place place; /* of the last record */
    bool announced;           /* compat: it is the PADDING of a batch */
};
/*
 * Type, length and place of a record, by which every reader goes: spec 3.
 * `offset` and `number` are for the error.
 */
int xensave_record_check(struct xensave_order *order,
                         enum xensave_format format,
                         const struct xensave_v2_record_header *record,
                         uint64_t offset, uint64_t number,
                         struct xensave_error *error);
/* NULL if the type is unknown. */
const char *xensave_record_name(uint32_t type);

/* Ours, optional, and not known: every reader skips it. */
static inline bool xensave_record_is_skipped(uint32_t type)
{
    return xensave_record_is_ours(type) && !xensave_record_name(type);
}

/*
 * Most pages that are not zero show it in their first words; memcmp of the
 * page with itself, shifted, uses libc's widest vectors for the rest.
 */
static inline bool xensave_page_is_zero(const void *page)
{
    uint64_t first[2];

    memcpy(first, page, sizeof(first));
    return !(first[0] | first[1]) &&
           !memcmp(page, (const char *)page + sizeof(first),
                   XENSAVE_V2_PAGE_SIZE - sizeof(first));
}

#endif /* XENSAVE_RECORD_H */
