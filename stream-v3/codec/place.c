/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdarg.h>

#include "place.h"

#define IN(format) (1U << XENSAVE_FORMAT_##format)

static const struct rule {
    uint32_t type;
    uint32_t formats;
    uint32_t least, most, multiple; /* of the length */
    bool first;                     /* of the stream, and only there */
} rules[] = {
    { XENSAVE_RECORD_HEADER, IN(V3), sizeof(struct xensave_aligned_header),
      XENSAVE_HEADER_MAX, 8, true },
    { XENSAVE_RECORD_PAGE_DATA, IN(V3),
      sizeof(struct xensave_aligned_page_data), XENSAVE_V2_RECORD_MAX, 1,
      false },
    { XENSAVE_RECORD_PADDING, IN(COMPAT), sizeof(struct xensave_padding),
      XENSAVE_PADDING_MAX, 8, false },
    { XENSAVE_RECORD_INDEX, IN(V3), sizeof(struct xensave_aligned_index),
      XENSAVE_V2_RECORD_MAX, 8, false },
    { XENSAVE_RECORD_CHECK, IN(V3), sizeof(struct xensave_aligned_check),
      sizeof(struct xensave_aligned_check), 8, false },
    { XENSAVE_RECORD_IDENTITY, IN(V3), 0, XENSAVE_IDENTITY_MAX, 1, false },
};

static enum xensave_kind __attribute__((format(printf, 2, 3)))
refuse(struct xensave_places *places, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(places->why, sizeof(places->why), format, arguments);
    va_end(arguments);
    return XENSAVE_KIND_REFUSED;
}

static bool is_ours(uint32_t type)
{
    return (type & XENSAVE_RECORD_VENDOR_MASK) == XENSAVE_RECORD_VENDOR;
}

static void find_format(struct xensave_places *places, uint32_t type)
{
    places->format = type == XENSAVE_RECORD_HEADER    ? XENSAVE_FORMAT_V3
                     : type == XENSAVE_RECORD_PADDING ? XENSAVE_FORMAT_COMPAT
                                                      : XENSAVE_FORMAT_V2;
}

static enum xensave_kind place_ours(
    struct xensave_places *places,
    const struct xensave_v2_record_header *record)
{
    const struct rule *rule = rules;

    while (rule < rules + ARRAY_SIZE(rules) && rule->type != record->type)
        rule++;
    if (rule == rules + ARRAY_SIZE(rules)) {
        if (places->format != XENSAVE_FORMAT_V2 &&
            (record->type & XENSAVE_V2_RECORD_OPTIONAL))
            return XENSAVE_KIND_SKIPPED;
        return refuse(places, "record type 0x%08" PRIx32 " is unknown in %s",
                      record->type, xensave_format_name(places->format));
    }
    if (!(rule->formats & 1U << places->format))
        return refuse(places,
                      "record type 0x%08" PRIx32 " (%s) does not belong in a "
                      "%s stream",
                      record->type, xensave_record_name(record->type),
                      xensave_format_name(places->format));
    if (record->length < rule->least || record->length > rule->most ||
        record->length % rule->multiple)
        return refuse(places, "%s of %" PRIu32 " bytes, a wrong length",
                      xensave_record_name(record->type), record->length);
    if ((rule->first && places->records) ||
        (record->type == XENSAVE_RECORD_IDENTITY && places->records != 1))
        return refuse(places, "%s is not in its place",
                      xensave_record_name(record->type));
    return XENSAVE_KIND_OURS;
}

/* What may follow the record before. */
static bool may_follow(const struct xensave_places *places, uint32_t type)
{
    if (places->check || (type == XENSAVE_V2_RECORD_END &&
                          places->format == XENSAVE_FORMAT_V3))
        return places->check && type == XENSAVE_V2_RECORD_END;
    if (places->index)
        return type == XENSAVE_RECORD_CHECK;
    return !places->padding || type == XENSAVE_V2_RECORD_PAGE_DATA;
}

enum xensave_kind xensave_place(struct xensave_places *places,
                                const struct xensave_v2_record_header *record)
{
    const uint32_t type = record->type;
    enum xensave_kind kind = XENSAVE_KIND_V2;

    if (record->length > XENSAVE_V2_RECORD_MAX)
        return refuse(places, "%s record of %" PRIu32 " bytes, more than "
                              "128 MiB",
                      xensave_record_name(type) ?: "unknown", record->length);
    if (!places->records)
        find_format(places, type);
    if (!may_follow(places, type))
        return refuse(places, "%s record (0x%08" PRIx32 ") %s",
                      xensave_record_name(type) ?: "unknown", type,
                      places->check || places->index ? "behind the last"
                      : places->padding              ? "instead of PAGE_DATA"
                                        : "without ALIGNED_CHECK before it");
    if (type == XENSAVE_V2_RECORD_END && record->length)
        return refuse(places, "END record with a body");
    if (is_ours(type))
        kind = place_ours(places, record);
    if (kind == XENSAVE_KIND_REFUSED)
        return kind;
    places->records++;
    places->padding = type == XENSAVE_RECORD_PADDING && places->records > 1;
    places->index |= type == XENSAVE_RECORD_INDEX;
    places->check |= type == XENSAVE_RECORD_CHECK;
    return kind;
}
