/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream-v3/internal.h"

static const struct xensave_name record_names[] = {
    { 0x00, "END" },
    { 0x01, "PAGE_DATA" },
    { 0x02, "X86_PV_INFO" },
    { 0x03, "X86_PV_P2M_FRAMES" },
    { 0x04, "X86_PV_VCPU_BASIC" },
    { 0x05, "X86_PV_VCPU_EXTENDED" },
    { 0x06, "X86_PV_VCPU_XSAVE" },
    { 0x07, "SHARED_INFO" },
    { 0x08, "X86_TSC_INFO" },
    { 0x09, "HVM_CONTEXT" },
    { 0x0a, "HVM_PARAMS" },
    { 0x0b, "TOOLSTACK" },
    { 0x0c, "X86_PV_VCPU_MSRS" },
    { 0x0d, "VERIFY" },
    { 0x0e, "CHECKPOINT" },
    { 0x0f, "CHECKPOINT_DIRTY_PFN_LIST" },
    { 0x10, "STATIC_DATA_END" },
    { 0x11, "X86_CPUID_POLICY" },
    { 0x12, "X86_MSR_POLICY" },
    { (int)XENSAVE_RECORD_HEADER, "ALIGNED_HEADER" },
    { (int)XENSAVE_RECORD_PAGE_DATA, "ALIGNED_PAGE_DATA" },
    { (int)XENSAVE_RECORD_PADDING, "PADDING" },
    { (int)XENSAVE_RECORD_INDEX, "ALIGNED_INDEX" },
    { (int)XENSAVE_RECORD_CHECK, "ALIGNED_CHECK" },
    { (int)XENSAVE_RECORD_IDENTITY, "ALIGNED_IDENTITY" },
};

static const struct xensave_name libxl_record_names[] = {
    { 0, "END" },
    { 1, "LIBXC_CONTEXT" },
    { 2, "EMULATOR_XENSTORE_DATA" },
    { 3, "EMULATOR_CONTEXT" },
    { 4, "CHECKPOINT_END" },
    { 5, "CHECKPOINT_STATE" },
};

const char *xensave_record_name(uint32_t type)
{
    return xensave_name_of(record_names, ARRAY_SIZE(record_names), (int)type);
}

const char *xensave_libxl_record_name(uint32_t type)
{
    return xensave_name_of(libxl_record_names, ARRAY_SIZE(libxl_record_names),
                           (int)type);
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

uint32_t xensave_count_contents(const uint64_t *pfns, uint32_t count)
{
    uint32_t contents = 0;

    for (uint32_t i = 0; i < count; i++)
        contents += xensave_pfn_has_contents(pfns[i]);
    return contents;
}

bool xensave_page_data_regular(
    const struct xensave_v2_record_header *record,
    const struct xensave_v2_page_data_header *page_data, const uint64_t *pfns)
{
    struct xensave_pfns seen;

    return page_data->count && page_data->count <= XENSAVE_BATCH_MAX &&
           !page_data->reserved &&
           xensave_pfns_check(pfns, page_data->count, false, &seen) &&
           record->length ==
               sizeof(*page_data) + 8ULL * page_data->count +
                   (uint64_t)XENSAVE_V2_PAGE_SIZE * seen.contents;
}
