/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>

#include "record.h"

#define ANY                                                  \
    (1U << XENSAVE_FORMAT_V2 | 1U << XENSAVE_FORMAT_COMPAT | \
     1U << XENSAVE_FORMAT_V3)

/*
 * Every type that is known: in which formats it may stand, where, and how long
 * its body may be.  Whatever reads records asks this table.
 */
static const struct rule {
    uint32_t type;
    const char *name;
    uint32_t formats;
    enum xensave_place place;
    uint32_t least, most, multiple;
} rules[] = {
#define XEN(type, name)                                                  \
    {                                                                    \
        type, name, ANY, XENSAVE_PLACE_BODY, 0, XENSAVE_V2_RECORD_MAX, 1 \
    }
#define V3(type, name, place, least, most, multiple)          \
    {                                                         \
        XENSAVE_RECORD_##type, name, 1U << XENSAVE_FORMAT_V3, \
            XENSAVE_PLACE_##place, least, most, multiple      \
    }
    { 0x00, "END", ANY, XENSAVE_PLACE_END, 0, 0, 1 },
    XEN(0x01, "PAGE_DATA"),
    XEN(0x02, "X86_PV_INFO"),
    XEN(0x03, "X86_PV_P2M_FRAMES"),
    XEN(0x04, "X86_PV_VCPU_BASIC"),
    XEN(0x05, "X86_PV_VCPU_EXTENDED"),
    XEN(0x06, "X86_PV_VCPU_XSAVE"),
    XEN(0x07, "SHARED_INFO"),
    XEN(0x08, "X86_TSC_INFO"),
    XEN(0x09, "HVM_CONTEXT"),
    XEN(0x0a, "HVM_PARAMS"),
    XEN(0x0b, "TOOLSTACK"),
    XEN(0x0c, "X86_PV_VCPU_MSRS"),
    XEN(0x0d, "VERIFY"),
    XEN(0x0e, "CHECKPOINT"),
    XEN(0x0f, "CHECKPOINT_DIRTY_PFN_LIST"),
    XEN(0x10, "STATIC_DATA_END"),
    XEN(0x11, "X86_CPUID_POLICY"),
    XEN(0x12, "X86_MSR_POLICY"),
    V3(HEADER, "ALIGNED_HEADER", FIRST, sizeof(struct xensave_aligned_header),
       XENSAVE_HEADER_MAX, 8),
    V3(IDENTITY, "ALIGNED_IDENTITY", IDENTITY, 0, XENSAVE_IDENTITY_MAX, 1),
    V3(PAGE_DATA, "ALIGNED_PAGE_DATA", BODY,
       sizeof(struct xensave_aligned_page_data), XENSAVE_V2_RECORD_MAX, 1),
    V3(INDEX, "ALIGNED_INDEX", INDEX, sizeof(struct xensave_aligned_index),
       XENSAVE_V2_RECORD_MAX, 8),
    V3(CHECK, "ALIGNED_CHECK", CHECK, sizeof(struct xensave_aligned_check),
       sizeof(struct xensave_aligned_check), 8),
    { XENSAVE_RECORD_PADDING, "PADDING", 1U << XENSAVE_FORMAT_COMPAT,
      XENSAVE_PLACE_BODY, sizeof(struct xensave_padding), XENSAVE_PADDING_MAX,
      8 },
};

static const struct rule *find_rule(uint32_t type)
{
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        if (rules[i].type == type)
            return &rules[i];
    return NULL;
}

const char *xensave_record_name(uint32_t type)
{
    const struct rule *rule = find_rule(type);

    return rule ? rule->name : NULL;
}

/* Types of ours that are not in the table: spec 1.3. */
static const struct rule *rule_of(uint32_t type)
{
    static const struct rule xen = XEN(0, NULL), mandatory = { .multiple = 1 };
    static const struct rule optional = {
        .formats = 1U << XENSAVE_FORMAT_COMPAT | 1U << XENSAVE_FORMAT_V3,
        .place = XENSAVE_PLACE_BODY,
        .most = XENSAVE_V2_RECORD_MAX,
        .multiple = 1,
    };
    const struct rule *rule = find_rule(type);

    if (rule)
        return rule;
    if (!xensave_record_is_ours(type))
        return &xen;
    return type & XENSAVE_V2_RECORD_OPTIONAL ? &optional : &mandatory;
}

static const char *what_is_wrong(const struct xensave_order *order,
                                 enum xensave_format format,
                                 const struct xensave_v2_record_header *record)
{
    const struct rule *rule = rule_of(record->type);

    if (record->length > XENSAVE_V2_RECORD_MAX)
        return "is longer than 128 MiB";
    if (!(rule->formats & 1U << format))
        return "does not belong into a stream of this format";
    if (record->length < rule->least || record->length > rule->most ||
        record->length % rule->multiple)
        return "has a length that does not exist";
    if (rule->place == XENSAVE_PLACE_IDENTITY &&
        order->place != XENSAVE_PLACE_FIRST)
        return "does not follow ALIGNED_HEADER";
    if (rule->place < order->place ||
        (rule->place == order->place && rule->place != XENSAVE_PLACE_BODY))
        return "is out of place";
    if (order->announced && record->type != XENSAVE_V2_RECORD_PAGE_DATA)
        return "stands between a PADDING and its PAGE_DATA";
    if (format == XENSAVE_FORMAT_V3 && rule->place == XENSAVE_PLACE_END &&
        order->place != XENSAVE_PLACE_CHECK)
        return "comes without ALIGNED_CHECK";
    return NULL;
}

int xensave_record_check(struct xensave_order *order,
                         enum xensave_format format,
                         const struct xensave_v2_record_header *record,
                         uint64_t offset, uint64_t number,
                         struct xensave_error *error)
{
    const char *wrong = what_is_wrong(order, format, record);
    const char *name = xensave_record_name(record->type);

    if (wrong)
        return xensave_fail_at(error, EBADMSG, offset, number,
                               "%s record (type 0x%08" PRIx32 ") of %" PRIu32
                               " bytes %s; the stream is damaged",
                               name ?: "unknown", record->type, record->length,
                               wrong);
    order->announced = record->type == XENSAVE_RECORD_PADDING && order->place;
    order->place = rule_of(record->type)->place;
    return 0;
}

bool xensave_pfns_check(const uint64_t *pfns, uint32_t count, bool zero_bit,
                        struct xensave_pfns *seen)
{
    const uint64_t reserved = zero_bit ? XENSAVE_PFN_RESERVED
                                       : XENSAVE_V2_PFN_RESERVED;

    *seen = (struct xensave_pfns){ .first = UINT64_MAX };
    for (uint32_t i = 0; i < count; i++) {
        uint64_t pfn = pfns[i] & XENSAVE_V2_PFN_MASK;
        bool zero = zero_bit && (pfns[i] & XENSAVE_PFN_ZERO);

        if (pfns[i] & reserved)
            return false;
        if (!xensave_pfn_has_contents(pfns[i])) {
            if (zero)
                return false;
            continue;
        }
        seen->contents++;
        seen->stored += !zero;
        if (pfn < seen->first)
            seen->first = pfn;
        if (pfn > seen->last)
            seen->last = pfn;
    }
    return true;
}

bool xensave_page_data_regular(
    const struct xensave_v2_record_header *record,
    const struct xensave_v2_page_data_header *page_data, const uint64_t *pfns,
    struct xensave_pfns *seen)
{
    return page_data->count && page_data->count <= XENSAVE_BATCH_MAX &&
           !page_data->reserved &&
           xensave_pfns_check(pfns, page_data->count, false, seen) &&
           record->length ==
               sizeof(*page_data) + 8ULL * page_data->count +
                   (uint64_t)XENSAVE_V2_PAGE_SIZE * seen->contents;
}
