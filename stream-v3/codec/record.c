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
};

const char *xensave_record_name(uint32_t type)
{
    const char *name;

    name = xensave_name_of(record_names, ARRAY_SIZE(record_names), (int)type);
    return name ? name : "unknown";
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
    uint64_t all = 0, length;

    if (!page_data->count || page_data->count > XENSAVE_BATCH_MAX ||
        page_data->reserved)
        return false;
    for (uint32_t i = 0; i < page_data->count; i++)
        all |= pfns[i];
    length = sizeof(*page_data) + 8ULL * page_data->count +
             (uint64_t)XENSAVE_V2_PAGE_SIZE *
                 xensave_count_contents(pfns, page_data->count);
    return !(all & XENSAVE_V2_PFN_RESERVED) && record->length == length;
}
