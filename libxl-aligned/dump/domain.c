/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The contents of a core other than memory. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "dump.h"

#include <xen/hvm/save.h>

_Static_assert(sizeof(vcpu_guest_context_any_t) == CORE_CONTEXT_SIZE,
               "registers of a vCPU");

static int fail(char *why, size_t size, const char *what)
{
    snprintf(why, size, "%s: %s", what, strerror(errno));
    return -1;
}

static void read_version(const struct xen *xen, xc_interface *xch,
                         struct core_xen_version *version)
{
    xen_compile_info_t compile;
    xen_platform_parameters_t platform;
    int r;

    _Static_assert(sizeof(compile) == sizeof(version->compiler) +
                                          sizeof(version->compile_by) +
                                          sizeof(version->compile_domain) +
                                          sizeof(version->compile_date),
                   "compile information");
    /* Like stock, ignore errors: the dump is usable without these. */
    r = xen->version(xch, XENVER_version, NULL);
    if (r >= 0) {
        version->major = r >> 16;
        version->minor = r & 0xffff;
    }
    xen->version(xch, XENVER_extraversion, version->extra_version);
    if (xen->version(xch, XENVER_compile_info, &compile) >= 0)
        memcpy(version->compiler, &compile, sizeof(compile));
    xen->version(xch, XENVER_capabilities, version->capabilities);
    xen->version(xch, XENVER_changeset, version->changeset);
    if (xen->version(xch, XENVER_platform_parameters, &platform) >= 0)
        version->virt_start = platform.virt_start;
    r = xen->version(xch, XENVER_pagesize, NULL);
    if (r >= 0)
        version->page_size = r;
}

/* Segment and descriptor table registers: optional. */
static void read_segments(const struct xen *xen, xc_interface *xch,
                          uint32_t domid, uint32_t number,
                          struct core_vcpu *vcpu)
{
    union {
        HVM_SAVE_TYPE(CPU) cpu;
        char room[4096];
    } record;

    memset(&record, 0, sizeof(record));
    if (!xen->hvm_getcontext_partial(xch, domid, HVM_SAVE_CODE(CPU), number,
                                     &record, sizeof(record)))
        core_vcpu_segments(vcpu, &record, sizeof(record.cpu));
}

static int read_vcpus(const struct xen *xen, xc_interface *xch, uint32_t domid,
                      uint32_t last, struct core_domain *domain, char *why,
                      size_t size)
{
    struct core_vcpu *vcpu;
    uint32_t i;

    domain->vcpu = calloc((size_t)last + 1, sizeof(*domain->vcpu));
    if (!domain->vcpu)
        return fail(why, size, "vCPU contexts");
    for (i = 0; i <= last; i++) {
        vcpu = &domain->vcpu[domain->vcpus];
        if (xen->getcontext(xch, domid, i,
                            (vcpu_guest_context_any_t *)vcpu->context)) {
            memset(vcpu, 0, sizeof(*vcpu));
            continue;
        }
        if (domain->translated)
            read_segments(xen, xch, domid, i, vcpu);
        domain->vcpus++;
    }
    if (!domain->vcpus) {
        errno = EINVAL;
        return fail(why, size, "getting the vCPU contexts");
    }
    return 0;
}

static int read_shared_info(const struct xen *xen, xc_interface *xch,
                            uint32_t domid, xen_pfn_t frame,
                            struct core_domain *domain, char *why, size_t size)
{
    xenforeignmemory_handle *handle = xen->memory_handle(xch);
    void *copy, *mapping;

    mapping = xen->map(handle, domid, PROT_READ, 1, &frame, NULL);
    if (!mapping)
        /* A translated domain need not have one. */
        return domain->translated
                   ? 0
                   : fail(why, size, "mapping the shared info page");
    copy = malloc(PAGE_BYTES);
    if (copy)
        memcpy(copy, mapping, PAGE_BYTES);
    domain->shared_info = copy;
    xen->unmap(handle, mapping, 1);
    return copy ? 0 : fail(why, size, "shared info page");
}

static int read_info(const struct xen *xen, xc_interface *xch, uint32_t domid,
                     domaininfo_t *info)
{
    int r;

    memset(info, 0, sizeof(*info));
    r = xen->getinfolist(xch, domid, 1, &info->value);
    /* The list begins with the next domain if there is none of this id. */
    if (r == 0 || (r == 1 && info->value.domain != domid)) {
        errno = ESRCH;
        r = -1;
    }
    return r < 0 ? -1 : 0;
}

uint64_t dump_domain_pages(const struct xen *xen, xc_interface *xch,
                           uint32_t domid)
{
    domaininfo_t info;

    return read_info(xen, xch, domid, &info) ? 0 : info.value.tot_pages;
}

int dump_domain(const struct xen *xen, xc_interface *xch, uint32_t domid,
                struct core_domain *domain, char *why, size_t size)
{
    domaininfo_t info;
    unsigned int width = sizeof(unsigned long);

    memset(domain, 0, sizeof(*domain));
    if (read_info(xen, xch, domid, &info))
        return fail(why, size, "getting its domaininfo");

    domain->translated = info.value.flags & XEN_DOMINF_hvm_guest;
    domain->nr_pages = info.value.tot_pages;
    if (!domain->translated && xen->guest_width(xch, domid, &width))
        return fail(why, size, "getting the guest width");
    domain->width = width;
    if (read_shared_info(xen, xch, domid, info.value.shared_info_frame, domain,
                         why, size) ||
        read_vcpus(xen, xch, domid, info.value.max_vcpu_id, domain, why,
                   size)) {
        dump_domain_free(domain);
        return -1;
    }
    read_version(xen, xch, &domain->xen);
    return 0;
}

void dump_domain_free(struct core_domain *domain)
{
    int errnum = errno;

    free(domain->vcpu);
    free((void *)domain->shared_info);
    memset(domain, 0, sizeof(*domain));
    errno = errnum;
}
