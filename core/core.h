/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Core files of domains: docs/spec/core-dump.md.  What is here knows no Xen
 * library: the caller supplies the registers and the memory.
 */
#ifndef XENSAVE_CORE_H
#define XENSAVE_CORE_H

#include "common/partial.h"
#include "xensave.h"

enum core_format {
    CORE_XEN, /* what Xen's own tools write and read */
    CORE_ELF, /* program headers over guest-physical memory */
};

const char *core_format_name(enum core_format format);
/* -1 with errno EINVAL. */
int core_format_parse(const char *name, enum core_format *format);

/* ---- the domain --------------------------------------------------------- */

/* vcpu_guest_context of x86-64, as Xen's interface has it. */
#define CORE_CONTEXT_SIZE 5168

/* The part of the hypervisor's CPU record that does not fit into a context. */
struct core_segment {
    uint32_t selector, limit, attributes;
    uint64_t base;
};

enum core_segments {
    CORE_CS,
    CORE_DS,
    CORE_ES,
    CORE_FS,
    CORE_GS,
    CORE_SS,
    CORE_LDT,
    CORE_TR,
    CORE_GDT,
    CORE_IDT,
    CORE_SEGMENTS,
};

struct core_vcpu {
    uint8_t context[CORE_CONTEXT_SIZE];
    bool has_segments; /* HVM and PVH */
    struct core_segment segment[CORE_SEGMENTS];
};

/* A note of the Xen format, byte for byte. */
struct core_xen_version {
    uint64_t major, minor;
    char extra_version[16];
    char compiler[64], compile_by[16], compile_domain[32], compile_date[32];
    char capabilities[1024];
    char changeset[64];
    uint64_t virt_start;
    uint64_t page_size;
};

struct core_domain {
    bool translated;   /* HVM and PVH: pages have no machine frame */
    uint32_t width;    /* bytes of a word of the guest, 4 or 8 */
    uint64_t nr_pages; /* Xen format: the number of pages it has space for */
    uint32_t vcpus;
    struct core_vcpu *vcpu;
    const void *shared_info; /* 4096 bytes, or NULL */
    /* The kernel's note, whole, if known when the pages are written. */
    const void *vmcoreinfo;
    size_t vmcoreinfo_length;
    struct core_xen_version xen;
};

/*
 * Fills a vCPU from the CPU record of an HVM context.  -1 with errno EBADMSG
 * if it is too short.
 */
int core_vcpu_from_hvm(struct core_vcpu *vcpu, const void *record,
                       size_t length);
/* Only what the context does not have. */
int core_vcpu_segments(struct core_vcpu *vcpu, const void *record,
                       size_t length);

/* ---- its memory --------------------------------------------------------- */

#define CORE_BATCH 1024U

/* Pages in ascending order of pfn. */
struct core_batch {
    uint32_t count; /* 0: no more */
    uint64_t pfn[CORE_BATCH];
    uint64_t mfn[CORE_BATCH];     /* PV */
    const void *page[CORE_BATCH]; /* NULL: zeros */
};

/* A page that has contents which only `share` or `load` can get at. */
#define CORE_UNREAD ((const void *)1)

struct core_memory {
    /* The pages stay valid until the next call.  -1 fills the error. */
    int (*next)(struct core_memory *memory, struct core_batch *batch,
                struct xensave_error *error);
    /* The two below are NULL where there is never an unread page. */
    /*
     * Puts `count` unread pages, from number `first` of the batch on, to
     * `offset` of the file without reading them.  False: they are to be
     * loaded and written.
     */
    bool (*share)(struct core_memory *memory, const struct core_batch *batch,
                  uint32_t first, uint32_t count, uint64_t offset);
    int (*load)(struct core_memory *memory, struct core_batch *batch,
                uint32_t first, uint32_t count, struct xensave_error *error);
};

/* PFINFO types of page tables are 1 to 4, or that with the PIN bit. */
static inline bool core_is_pagetable(uint32_t type)
{
    type &= 7;
    return type >= 1 && type <= 4;
}

/*
 * A copy of a page table of a PV guest whose frame numbers have gone through
 * `translate` (UINT64_MAX: no such frame, the entry becomes 0).
 */
void core_pagetable(uint64_t *copy, const void *page,
                    uint64_t (*translate)(void *context, uint64_t frame),
                    void *context);

/* Length of a VMCOREINFO note that a page begins with; 0 if there is none. */
size_t core_find_vmcoreinfo(const void *page);

/* ---- writing ------------------------------------------------------------ */

struct core_options {
    enum core_format format;
    bool no_sparse; /* write every byte */
    /* NULL, or called now and then with the progress. */
    void (*progress)(void *context, uint64_t pages, uint64_t of);
    void *progress_context;
};

struct core_result {
    uint64_t pages;        /* written */
    uint64_t zero_pages;   /* of these, left to holes */
    uint64_t shared_pages; /* of these, put there by `share` */
    uint64_t missing;      /* Xen format: nr_pages were promised */
    uint64_t lost;         /* Xen format: more than nr_pages were there */
    uint64_t segments;     /* ELF: PT_LOAD */
    bool vmcoreinfo;       /* ELF: found in the guest's memory */
};

/*
 * Bytes of the file, as far as they are known before the memory is read
 * (ELF: with nr_pages pages).
 */
uint64_t core_size(const struct core_domain *domain, enum core_format format);

/*
 * Writes a whole core, from offset 0 of the sink, and finishes the sink.  ELF
 * needs one that can be rewritten.
 */
int core_write(struct xensave_sink *sink, const struct core_domain *domain,
               struct core_memory *memory, const struct core_options *options,
               struct core_result *result, struct xensave_error *error);

/* Whether a file is a core that may be replaced. */
enum partial_contents core_look(int fd);

/* ---- saved domains ------------------------------------------------------ */

struct core_savefile;

/*
 * A domain out of a save file of any format; `savefile` as xensave_file_probe
 * filled it, `fd` readable and the caller's.  What the memory hands out are
 * the pages as a dump of the options' format has them.  v3 with an index:
 * each page is verified when the memory hands it out.  All of other files is
 * read and verified at once: progress is told in 4096 bytes of it.
 */
struct core_savefile *core_savefile_open(int fd,
                                         const struct xensave_file *savefile,
                                         const struct core_options *options,
                                         struct xensave_error *error);
struct core_domain *core_savefile_domain(struct core_savefile *core);
/*
 * `target`: a file to share blocks with instead of copying, where the
 * filesystem can; -1 for none.
 */
struct core_memory *core_savefile_memory(struct core_savefile *core,
                                         int target);
void core_savefile_free(struct core_savefile *core);

/*
 * Translated domains: `pfn`, or the end of the hole that it is in.  Dumps
 * leave out VGA memory and memory-mapped devices, as Xen's do.
 */
static inline uint64_t core_skip_holes(uint64_t pfn)
{
    if (pfn >= 0xa0 && pfn < 0xc0)
        return 0xc0;
    return pfn >= 0xf0000 && pfn < 0x100000 ? 0x100000 : pfn;
}

#endif /* XENSAVE_CORE_H */
