/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a core needs beside the pages: through the index of a v3 file, else in
 * one pass through the decoder and so with every checksum verified.
 */
#include <fcntl.h>
#include <unistd.h>

#include "context.h"
#include "saved.h"
#include "stream-v3/savefile/index.h"

#define X86_PV_INFO       0x02U
#define X86_PV_P2M_FRAMES 0x03U
#define X86_PV_VCPU_BASIC 0x04U
#define SHARED_INFO       0x07U
#define HVM_CONTEXT       0x09U

#define HVM_END           0U
#define HVM_CPU           2U

#define VCPUS_MAX         8192U

/* The one record that may become longer than the file it is in. */
#define PAGE_DATA_MAX                             \
    (sizeof(struct xensave_v2_page_data_header) + \
     XENSAVE_BATCH_MAX * (sizeof(uint64_t) + XENSAVE_V2_PAGE_SIZE))

struct collect {
    struct core_collected *collected;
    struct xensave_decoder *decoder;
    const struct core_options *options;
    const struct xensave_file *savefile;
    struct xensave_error *error;
    const uint8_t *body;
    uint8_t *room; /* for a body that the decoder hands out */
    size_t allocated;
    struct xensave_v2_record_header record;
};

static int bad(struct collect *collect, const char *name)
{
    return xensave_fail(collect->error, EBADMSG,
                        "a record %s of %u bytes makes "
                        "no sense",
                        name, collect->record.length);
}

static struct core_vcpu *add_vcpu(struct collect *collect)
{
    struct core_domain *domain = &collect->collected->domain;
    struct core_vcpu *vcpu;

    if (domain->vcpus == VCPUS_MAX) {
        xensave_fail(collect->error, EBADMSG, "more than %u vCPUs", VCPUS_MAX);
        return NULL;
    }
    vcpu = realloc(domain->vcpu, (domain->vcpus + 1) * sizeof(*vcpu));
    if (!vcpu) {
        xensave_fail(collect->error, ENOMEM, "no memory for registers");
        return NULL;
    }
    domain->vcpu = vcpu;
    vcpu += domain->vcpus++;
    memset(vcpu, 0, sizeof(*vcpu));
    return vcpu;
}

/* ---- records ------------------------------------------------------------ */

void core_take_vmcoreinfo(struct core_collected *collected, const void *page)
{
    struct core_domain *domain = &collected->domain;

    if (domain->vmcoreinfo_length)
        return;
    domain->vmcoreinfo_length = core_find_vmcoreinfo(page);
    if (domain->vmcoreinfo_length) {
        memcpy(collected->vmcoreinfo, page, domain->vmcoreinfo_length);
        domain->vmcoreinfo = collected->vmcoreinfo;
    }
}

static int take_page_data(struct collect *collect)
{
    struct core_collected *collected = collect->collected;
    struct xensave_v2_page_data_header header;
    uint64_t pfn, end = collect->record.length, at;
    uint32_t i;

    if (end < sizeof(header))
        return 0;
    memcpy(&header, collect->body, sizeof(header));
    at = sizeof(header) + header.count * sizeof(pfn);
    if (at <= end)
        collected->pfns += header.count;
    for (i = 0; i < header.count && at + XENSAVE_V2_PAGE_SIZE <= end; i++) {
        memcpy(&pfn, collect->body + sizeof(header) + i * sizeof(pfn),
               sizeof(pfn));
        if (!xensave_pfn_has_contents(pfn))
            continue;
        core_take_vmcoreinfo(collected, collect->body + at);
        at += XENSAVE_V2_PAGE_SIZE;
    }
    return 0;
}

static int take_pv_info(struct collect *collect)
{
    struct core_collected *collected = collect->collected;

    if (collect->record.length < 2 ||
        (collect->body[0] != 4 && collect->body[0] != 8))
        return bad(collect, "X86_PV_INFO");
    collected->domain.width = collect->body[0];
    collected->has_pv_info = true;
    return 0;
}

static int take_p2m_frames(struct collect *collect)
{
    struct core_collected *collected = collect->collected;
    uint32_t range[2], entries, length = collect->record.length;
    uint64_t *list, first;

    if (!collected->has_pv_info || length < sizeof(range))
        return bad(collect, "X86_PV_P2M_FRAMES");
    memcpy(range, collect->body, sizeof(range));
    entries = XENSAVE_V2_PAGE_SIZE / collected->domain.width;
    length = (length - sizeof(range)) / sizeof(*list);
    first = range[0] / entries * entries;
    if (range[1] < range[0] ||
        range[1] / entries - range[0] / entries + 1 != length ||
        (collected->p2m_pfns &&
         first != collected->p2m_first + collected->p2m_pfns * entries))
        return bad(collect, "X86_PV_P2M_FRAMES");
    list = realloc(collected->p2m_pfn,
                   (collected->p2m_pfns + length) * sizeof(*list));
    if (!list)
        return xensave_fail(collect->error, ENOMEM,
                            "no memory for the guest's "
                            "table of frames");
    memcpy(list + collected->p2m_pfns, collect->body + sizeof(range),
           length * sizeof(*list));
    if (!collected->p2m_pfns)
        collected->p2m_first = first;
    collected->p2m_pfn = list;
    collected->p2m_pfns += length;
    return 0;
}

static int take_pv_vcpu(struct collect *collect)
{
    const struct core_domain *domain = &collect->collected->domain;
    size_t size = domain->width == 4 ? sizeof(struct context32)
                                     : sizeof(struct context64);
    struct core_vcpu *vcpu;

    /* The number and a reserved word come first. */
    if (!collect->collected->has_pv_info || collect->record.length < 8 + size)
        return bad(collect, "X86_PV_VCPU_BASIC");
    vcpu = add_vcpu(collect);
    if (!vcpu)
        return -1;
    memcpy(vcpu->context, collect->body + 8, size);
    return 0;
}

static int take_shared_info(struct collect *collect)
{
    struct core_collected *collected = collect->collected;

    if (collect->record.length != XENSAVE_V2_PAGE_SIZE)
        return bad(collect, "SHARED_INFO");
    memcpy(collected->shared_info, collect->body, XENSAVE_V2_PAGE_SIZE);
    collected->domain.shared_info = collected->shared_info;
    return 0;
}

static int take_hvm_context(struct collect *collect)
{
    struct {
        uint16_t type, instance;
        uint32_t length;
    } entry;
    uint32_t at = 0, length = collect->record.length;
    struct core_vcpu *vcpu;

    for (;;) {
        if (length - at < sizeof(entry))
            return bad(collect, "HVM_CONTEXT");
        memcpy(&entry, collect->body + at, sizeof(entry));
        at += sizeof(entry);
        if (entry.type == HVM_END)
            return 0;
        if (entry.length > length - at)
            return bad(collect, "HVM_CONTEXT");
        if (entry.type == HVM_CPU) {
            vcpu = add_vcpu(collect);
            if (!vcpu)
                return -1;
            if (core_vcpu_from_hvm(vcpu, collect->body + at, entry.length))
                return bad(collect, "HVM_CONTEXT");
        }
        at += entry.length;
    }
}

static const struct kind {
    uint32_t type;
    int (*take)(struct collect *collect);
} kinds[] = {
    { XENSAVE_V2_RECORD_PAGE_DATA, take_page_data },
    { X86_PV_INFO, take_pv_info },
    { X86_PV_P2M_FRAMES, take_p2m_frames },
    { X86_PV_VCPU_BASIC, take_pv_vcpu },
    { SHARED_INFO, take_shared_info },
    { HVM_CONTEXT, take_hvm_context },
};

/* ---- the stream --------------------------------------------------------- */

static int read_record(struct collect *collect)
{
    uint64_t most = collect->savefile->file_size;
    size_t length;
    uint8_t *body;

    if (xensave_decoder_read(collect->decoder, &collect->record,
                             sizeof(collect->record)))
        return -1;
    length = collect->record.length + record_padding(collect->record.length);
    if (collect->record.type == XENSAVE_V2_RECORD_PAGE_DATA &&
        most < PAGE_DATA_MAX)
        most = PAGE_DATA_MAX;
    if (length > XENSAVE_V2_RECORD_MAX || length > most)
        return xensave_fail(collect->error, EBADMSG, "a record of %u bytes",
                            collect->record.length);
    if (length > collect->allocated) {
        body = realloc(collect->room, length);
        if (!body)
            return xensave_fail(collect->error, ENOMEM,
                                "no memory for a record "
                                "of %u bytes",
                                collect->record.length);
        collect->body = collect->room = body;
        collect->allocated = length;
    }
    return length
               ? xensave_decoder_read(collect->decoder, collect->room, length)
               : 0;
}

static void tell_progress(const struct collect *collect,
                          const struct xensave_source *source)
{
    const struct core_options *options = collect->options;

    if (options->progress)
        options->progress(options->progress_context,
                          xensave_source_offset(source) / XENSAVE_V2_PAGE_SIZE,
                          collect->savefile->file_size / XENSAVE_V2_PAGE_SIZE);
}

static const struct kind *find_kind(uint32_t type)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(kinds); i++)
        if (kinds[i].type == type)
            return &kinds[i];
    return NULL;
}

static int read_stream(struct collect *collect,
                       const struct xensave_source *source)
{
    uint8_t headers[XENSAVE_STREAM_HEADERS];
    const struct kind *kind;

    if (xensave_decoder_read(collect->decoder, headers, sizeof(headers)))
        return -1;
    do {
        if (read_record(collect))
            return -1;
        kind = find_kind(collect->record.type);
        if (kind && kind->take(collect))
            return -1;
        tell_progress(collect, source);
    } while (!xensave_decoder_ended(collect->decoder));
    return 0;
}

static int check(struct core_collected *collected, struct xensave_error *error)
{
    struct core_domain *domain = &collected->domain;
    uint64_t entries = XENSAVE_V2_PAGE_SIZE / domain->width;

    /* A saved PV domain lists each pfn that its table has, and so pays. */
    if (collected->p2m_pfns * entries > collected->pfns + entries)
        return xensave_fail(error, EBADMSG,
                            "the guest's table of frames has "
                            "%llu pages for %llu pfns",
                            (unsigned long long)collected->p2m_pfns,
                            (unsigned long long)collected->pfns);
    if (!domain->vcpus)
        return xensave_fail(error, EBADMSG,
                            "the save file has no registers of "
                            "any vCPU");
    if (!domain->translated && !collected->has_pv_info)
        return xensave_fail(error, EBADMSG,
                            "the save file of a PV domain has no "
                            "X86_PV_INFO");
    return 0;
}

static void begin(struct core_collected *collected,
                  const struct xensave_file *savefile)
{
    struct core_domain *domain = &collected->domain;

    domain->translated = savefile->guest_type == XENSAVE_V2_GUEST_HVM;
    domain->width = 8;
    domain->xen.major = savefile->xen_major;
    domain->xen.minor = savefile->xen_minor;
    domain->xen.page_size = XENSAVE_V2_PAGE_SIZE;
}

int core_collect_indexed(struct core_collected *collected,
                         struct xensave_index *index,
                         struct xensave_error *error)
{
    struct collect collect = { .collected = collected, .error = error };
    const struct xensave_index_record *record = index->records;
    const struct kind *kind;
    const uint8_t *bytes;
    size_t i;

    begin(collected, &index->savefile);
    for (i = 0; i < index->count; i++)
        collected->pfns += index->entries[i].count;
    for (i = 0; i < index->record_count; i++, record++) {
        kind = find_kind(record->type);
        if (!kind)
            continue;
        collect.record.type = record->type;
        collect.record.length = record->length;
        bytes = xensave_index_look(index,
                                   index->savefile.stream_start +
                                       record->offset,
                                   sizeof(collect.record) + record->length);
        if (!bytes) {
            *error = *index->error;
            return -1;
        }
        collect.body = bytes + sizeof(collect.record);
        if (kind->take(&collect))
            return -1;
    }
    return check(collected, error);
}

int core_collect(struct core_collected *collected, int fd,
                 const struct xensave_file *savefile,
                 const struct core_options *options,
                 struct xensave_error *error)
{
    struct collect collect = { .collected = collected,
                               .options = options,
                               .savefile = savefile,
                               .error = error };
    struct xensave_source *source = NULL;
    int own = fd_reopen(fd, O_RDONLY), r = -1;

    begin(collected, savefile);
    if (own < 0 || lseek(own, savefile->stream_start, SEEK_SET) < 0) {
        xensave_fail(error, errno, "cannot open the file again: %s",
                     strerror(errno));
        goto out;
    }
    source = xensave_source_open_file(own, NULL, error);
    if (!source)
        goto out;
    collect.decoder = xensave_decoder_new(source);
    if (!collect.decoder || read_stream(&collect, source) ||
        check(collected, error))
        goto out;
    r = 0;

out:
    xensave_decoder_free(collect.decoder);
    xensave_source_free(source);
    free(collect.room);
    if (own >= 0)
        close(own);
    return r;
}

void core_collected_free(struct core_collected *collected)
{
    free(collected->domain.vcpu);
    free(collected->p2m_pfn);
}
