/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the dump engine share. */
#ifndef XL_ALIGNED_DUMP_H
#define XL_ALIGNED_DUMP_H

#include <xenctrl.h>
#include <xenforeignmemory.h>
#include <xenguest.h>

#include "common/partial.h"
#include "core/core.h"
#include "libxl-aligned/operation.h"
#include "libxl-aligned/report.h"
#include "libxl-aligned/runtime.h"

#define PAGE_OCTETS 4096U

/* ---- Xen's libraries, in whatever version the program has ---------------- */

/* Members that a later Xen appends stay in the room behind. */
#define ROOMY(type)                     \
    union {                             \
        type value;                     \
        char room[sizeof(type) + 1024]; \
    }
typedef ROOMY(xc_domaininfo_t) domaininfo_t;
typedef ROOMY(struct xc_domain_meminfo) meminfo_t;

struct xen {
    int (*getinfolist)(xc_interface *, uint32_t, unsigned int,
                       xc_domaininfo_t *);
    int (*getcontext)(xc_interface *, uint32_t, uint32_t,
                      vcpu_guest_context_any_t *);
    int (*hvm_getcontext_partial)(xc_interface *, uint32_t, uint16_t, uint16_t,
                                  void *, uint32_t);
    int (*nr_gpfns)(xc_interface *, uint32_t, xen_pfn_t *);
    int (*maximum_ram_page)(xc_interface *, unsigned long *);
    int (*guest_width)(xc_interface *, uint32_t, unsigned int *);
    int (*version)(xc_interface *, int, void *);
    int (*map_meminfo)(xc_interface *, uint32_t, struct xc_domain_meminfo *);
    int (*unmap_meminfo)(xc_interface *, struct xc_domain_meminfo *);
    xen_pfn_t *(*map_m2p)(xc_interface *, unsigned long, int, unsigned long *);
    xenforeignmemory_handle *(*memory_handle)(xc_interface *);
    void *(*map)(xenforeignmemory_handle *, uint32_t, int, size_t,
                 const xen_pfn_t *, int *);
    int (*unmap)(xenforeignmemory_handle *, void *, size_t);
    /* Stock's own; NULL if this library is the first to be asked. */
    int (*dumpcore)(xc_interface *, uint32_t, const char *);
};

/* ---- domain.c ----------------------------------------------------------- */

/*
 * Everything about a domain but its memory.  -1 with errno; `why` says what
 * could not be had.
 */
int dump_domain(const struct xen *xen, xc_interface *xch, uint32_t domid,
                struct core_domain *domain, char *why, size_t size);
/* How many pages it has now; 0 if it is gone. */
uint64_t dump_domain_pages(const struct xen *xen, xc_interface *xch,
                           uint32_t domid);
void dump_domain_free(struct core_domain *domain);

/* ---- memory.c ----------------------------------------------------------- */

struct core_memory *dump_memory(const struct xen *xen, xc_interface *xch,
                                uint32_t domid,
                                const struct core_domain *domain,
                                enum core_format format,
                                const struct operation *operation, char *why,
                                size_t size);
/* Whether the domain had another number of pages in between. */
bool dump_memory_changed(const struct core_memory *memory);
void dump_memory_free(struct core_memory *memory);

/* ---- output.c ----------------------------------------------------------- */

struct output {
    const char *name;    /* as it was asked for */
    struct partial file; /* fd: open for writing in any case */
};

/* These report what is wrong and return -1 with errno. */
int output_open(struct output *output, const char *name);
/* Everything is written: puts it on stable storage under its name. */
int output_commit(struct output *output);
/* Removes what was not committed. */
void output_close(struct output *output);
/* The name that it is to have; false if it has none. */
bool output_name(const struct output *output, char name[PARTIAL_PATH]);

#endif /* XL_ALIGNED_DUMP_H */
