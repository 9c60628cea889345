/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A domain's memory, mapped one batch at a time.  The error array says which
 * slots of a mapping are backed by a page; the others must not be accessed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "dump.h"

#define M2P_EXTENT (2UL << 20)

struct foreign;

struct kind {
    /* The next frames to map, `most` at most; 0 if there are no more. */
    uint32_t (*frames)(struct foreign *foreign, uint64_t *pfn,
                       xen_pfn_t *frame, uint32_t most);
};

struct foreign {
    struct core_memory memory;
    const struct xen *xen;
    const struct kind *kind;
    xc_interface *xch;
    const struct operation *operation;
    xenforeignmemory_handle *handle;
    uint32_t domid;
    uint64_t pages; /* when the dump began */
    bool changed;
    uint64_t next, end; /* pfns to look at */
    char *mapping;
    uint32_t mapped;
    uint64_t pfn[CORE_BATCH];
    xen_pfn_t frame[CORE_BATCH];
    int error[CORE_BATCH];
    /* PV */
    uint32_t width;
    unsigned long max_mfn;
    meminfo_t meminfo;
    xen_pfn_t *m2p; /* ELF: page tables get pfns */
    uint64_t *copy; /* CORE_BATCH pages of them */
};

/* ---- which frames ------------------------------------------------------- */

static uint32_t translated_frames(struct foreign *foreign, uint64_t *pfn,
                                  xen_pfn_t *frame, uint32_t most)
{
    uint32_t n;

    for (n = 0; n < most; n++) {
        foreign->next = core_skip_holes(foreign->next);
        if (foreign->next >= foreign->end)
            break;
        pfn[n] = frame[n] = foreign->next++;
    }
    return n;
}

static const struct kind translated = { translated_frames };

/* UINT64_MAX if there is no such entry. */
static uint64_t p2m(const struct foreign *foreign, uint64_t pfn)
{
    const void *table = foreign->meminfo.value.p2m_table;
    uint64_t mfn;

    if (foreign->width == 8)
        return ((const volatile uint64_t *)table)[pfn];
    mfn = ((const volatile uint32_t *)table)[pfn];
    return mfn == UINT32_MAX ? UINT64_MAX : mfn;
}

static uint32_t pv_frames(struct foreign *foreign, uint64_t *pfn,
                          xen_pfn_t *frame, uint32_t most)
{
    uint32_t n = 0;
    uint64_t mfn;

    for (; n < most && foreign->next < foreign->end; foreign->next++) {
        mfn = p2m(foreign, foreign->next);
        if (mfn > foreign->max_mfn)
            continue;
        pfn[n] = foreign->next;
        frame[n] = mfn;
        n++;
    }
    return n;
}

static const struct kind pv = { pv_frames };

/* ---- page tables -------------------------------------------------------- */

static uint64_t mfn_to_pfn(void *context, uint64_t mfn)
{
    struct foreign *foreign = context;
    uint64_t pfn;

    if (mfn > foreign->max_mfn)
        return UINT64_MAX;
    pfn = foreign->m2p[mfn];
    /* The M2P entry is valid only if the domain owns the page. */
    if (pfn >= foreign->end || p2m(foreign, pfn) != mfn)
        return UINT64_MAX;
    return pfn;
}

static bool is_pagetable(const struct foreign *foreign, uint64_t pfn)
{
    return core_is_pagetable(foreign->meminfo.value.pfn_type[pfn] >>
                             XEN_DOMCTL_PFINFO_LTAB_SHIFT);
}

static const void *page_of(struct foreign *foreign, uint32_t slot,
                           uint32_t index)
{
    const void *page = foreign->mapping + (size_t)slot * PAGE_BYTES;
    uint64_t *copy;

    if (!foreign->m2p || !is_pagetable(foreign, foreign->pfn[slot]))
        return page;
    copy = foreign->copy + (size_t)index * PAGE_BYTES / sizeof(*copy);
    core_pagetable(copy, page, mfn_to_pfn, foreign);
    return copy;
}

/* ---- batches ------------------------------------------------------------ */

static void unmap(struct foreign *foreign)
{
    if (foreign->mapping)
        foreign->xen->unmap(foreign->handle, foreign->mapping,
                            foreign->mapped);
    foreign->mapping = NULL;
}

static int map(struct foreign *foreign, struct xensave_error *error)
{
    foreign->mapping = foreign->xen->map(foreign->handle, foreign->domid,
                                         PROT_READ, foreign->mapped,
                                         foreign->frame, foreign->error);
    if (foreign->mapping)
        return 0;
    error->errnum = errno;
    snprintf(error->text, sizeof(error->text),
             "cannot map %u pages of "
             "domain %u from pfn %#llx: %s",
             foreign->mapped, foreign->domid,
             (unsigned long long)foreign->pfn[0], strerror(errno));
    return -1;
}

static int foreign_next(struct core_memory *memory, struct core_batch *batch,
                        struct xensave_error *error)
{
    struct foreign *foreign = (struct foreign *)memory;
    uint32_t i, n;

    if (operation_cancelled(foreign->operation)) {
        error->errnum = ECANCELED;
        snprintf(error->text, sizeof(error->text), "cancelled");
        return -1;
    }
    batch->count = 0;
    while (!batch->count) {
        unmap(foreign);
        foreign->mapped = foreign->kind->frames(foreign, foreign->pfn,
                                                foreign->frame, CORE_BATCH);
        if (!foreign->mapped)
            return 0;
        if (map(foreign, error))
            return -1;
        if (dump_domain_pages(foreign->xen, foreign->xch, foreign->domid) !=
            foreign->pages)
            foreign->changed = true;
        for (i = 0; i < foreign->mapped; i++) {
            if (foreign->error[i])
                continue;
            n = batch->count++;
            batch->pfn[n] = foreign->pfn[i];
            batch->mfn[n] = foreign->frame[i];
            batch->page[n] = page_of(foreign, i, n);
        }
    }
    return 0;
}

/* ---- setting up --------------------------------------------------------- */

static int fail(char *why, size_t size, const char *what)
{
    snprintf(why, size, "%s: %s", what, strerror(errno));
    return -1;
}

static int open_translated(struct foreign *foreign, char *why, size_t size)
{
    xen_pfn_t frames;

    if (foreign->xen->nr_gpfns(foreign->xch, foreign->domid, &frames) < 0)
        return fail(why, size, "getting the maximum gpfn");
    foreign->kind = &translated;
    foreign->end = frames;
    return 0;
}

static int open_pv(struct foreign *foreign, enum core_format format, char *why,
                   size_t size)
{
    const struct xen *xen = foreign->xen;

    if (xen->map_meminfo(foreign->xch, foreign->domid,
                         &foreign->meminfo.value))
        return fail(why, size, "mapping the P2M");
    if (xen->maximum_ram_page(foreign->xch, &foreign->max_mfn))
        return fail(why, size, "getting the maximum mfn");
    foreign->kind = &pv;
    foreign->width = foreign->meminfo.value.guest_width;
    foreign->end = foreign->meminfo.value.p2m_size;
    if (format != CORE_ELF)
        return 0;
    foreign->m2p = xen->map_m2p(foreign->xch, foreign->max_mfn, PROT_READ,
                                NULL);
    if (!foreign->m2p)
        return fail(why, size, "mapping the M2P");
    foreign->copy = malloc((size_t)CORE_BATCH * PAGE_BYTES);
    return foreign->copy ? 0 : fail(why, size, "page tables");
}

struct core_memory *dump_memory(const struct xen *xen, xc_interface *xch,
                                uint32_t domid,
                                const struct core_domain *domain,
                                enum core_format format,
                                const struct operation *operation, char *why,
                                size_t size)
{
    struct foreign *foreign = calloc(1, sizeof(*foreign));

    if (!foreign) {
        fail(why, size, "dump buffer");
        return NULL;
    }
    foreign->memory.next = foreign_next;
    foreign->xen = xen;
    foreign->xch = xch;
    foreign->operation = operation;
    foreign->handle = xen->memory_handle(xch);
    foreign->domid = domid;
    foreign->pages = domain->nr_pages;
    if (domain->translated ? open_translated(foreign, why, size)
                           : open_pv(foreign, format, why, size)) {
        dump_memory_free(&foreign->memory);
        return NULL;
    }
    return &foreign->memory;
}

bool dump_memory_changed(const struct core_memory *memory)
{
    return ((const struct foreign *)memory)->changed;
}

void dump_memory_free(struct core_memory *memory)
{
    struct foreign *foreign = (struct foreign *)memory;
    size_t extents;
    int errnum = errno;

    if (!foreign)
        return;
    unmap(foreign);
    if (foreign->m2p) {
        extents = (foreign->max_mfn * sizeof(xen_pfn_t) + M2P_EXTENT - 1) /
                  M2P_EXTENT;
        munmap(foreign->m2p, extents * M2P_EXTENT);
    }
    if (foreign->meminfo.value.p2m_table)
        foreign->xen->unmap_meminfo(foreign->xch, &foreign->meminfo.value);
    free(foreign->copy);
    free(foreign);
    errno = errnum;
}
