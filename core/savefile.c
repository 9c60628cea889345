/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A saved domain as a source of pages: spec 5. */
#include <fcntl.h>

#include "context.h"
#include "saved.h"

/* Windows of pfns after which their records leave the page cache. */
#define DROP_WINDOWS 8U

struct core_savefile {
    struct core_memory memory; /* first: what callers hold */
    struct core_collected collected;
    struct xensave_index *index;
    struct xensave_error index_error;
    enum core_format format;
    int fd;
    struct core_share share;
    uint64_t *p2m; /* PV: mfns, from p2m_first on */
    uint64_t p2m_size;
    uint64_t next; /* pfn */
    bool cached;   /* the file was before this began */
    bool indexed;  /* v3 with an index: a page is verified when it is read */
    uint32_t windows;
    struct xensave_index_page window[CORE_BATCH];
    struct xensave_index_page page[CORE_BATCH]; /* of the batch */
    uint8_t *contents;                          /* CORE_BATCH pages */
};

static int index_failed(const struct core_savefile *core,
                        struct xensave_error *error)
{
    *error = core->index_error;
    return -1;
}

/* ---- PV: machine frames ------------------------------------------------- */

static uint64_t pfn_to_mfn(void *context, uint64_t pfn)
{
    const struct core_savefile *core = context;

    pfn -= core->collected.p2m_first;
    return pfn < core->p2m_size ? core->p2m[pfn] : UINT64_MAX;
}

static int read_p2m_page(struct core_savefile *core, uint64_t number,
                         struct xensave_error *error)
{
    uint32_t width = core->collected.domain.width, i;
    uint32_t entries = XENSAVE_V2_PAGE_SIZE / width, mfn32;
    uint64_t *entry = core->p2m + number * entries;
    struct xensave_index_page page;

    if (xensave_index_map(core->index, core->collected.p2m_pfn[number], 1,
                          &page))
        return index_failed(core, error);
    if (page.kind != XENSAVE_PAGE_STORED)
        return 0;
    if (xensave_index_read(core->index, &page, core->contents))
        return index_failed(core, error);
    if (width == 8) {
        memcpy(entry, core->contents, XENSAVE_V2_PAGE_SIZE);
        return 0;
    }
    for (i = 0; i < entries; i++) {
        memcpy(&mfn32, core->contents + i * sizeof(mfn32), sizeof(mfn32));
        entry[i] = mfn32 == UINT32_MAX ? UINT64_MAX : mfn32;
    }
    return 0;
}

static int read_p2m(struct core_savefile *core, struct xensave_error *error)
{
    const struct core_collected *collected = &core->collected;
    uint32_t entries = XENSAVE_V2_PAGE_SIZE / collected->domain.width;
    uint64_t size = collected->p2m_pfns * entries, i;

    core->p2m = malloc(size * sizeof(*core->p2m) + 1);
    if (!core->p2m)
        return xensave_fail(error, ENOMEM,
                            "no memory for the guest's table of "
                            "frames");
    memset(core->p2m, 0xff, size * sizeof(*core->p2m));
    core->p2m_size = size;
    for (i = 0; i < collected->p2m_pfns; i++)
        if (read_p2m_page(core, i, error))
            return -1;
    return 0;
}

/* ---- PV: registers ------------------------------------------------------ */

#define GDT_ENTRIES_A_PAGE 512U

/* Frame numbers that saving turned into pfns; unknown ones stay. */
static uint64_t back(struct core_savefile *core, uint64_t pfn)
{
    uint64_t mfn = pfn_to_mfn(core, pfn);

    return mfn == UINT64_MAX ? pfn : mfn;
}

static void back_registers64(struct core_savefile *core, uint32_t number)
{
    struct context64 *context =
        (struct context64 *)core->collected.domain.vcpu[number].context;
    uint32_t i;

    /* The suspend record, in the first vCPU's EDX. */
    if (!number)
        context->rdx = (context->rdx & ~(uint64_t)UINT32_MAX) |
                       (uint32_t)back(core, (uint32_t)context->rdx);
    if (core->format == CORE_ELF)
        return;
    for (i = 0; i < 16 && i * GDT_ENTRIES_A_PAGE < context->gdt_entries; i++)
        context->gdt_frame[i] = back(core, context->gdt_frame[i]);
    context->cr[3] = back(core, context->cr[3] >> 12) << 12;
    /* Bit 0 says that there is one. */
    if (context->cr[1] & 1)
        context->cr[1] = back(core, context->cr[1] >> 12) << 12;
}

/* Bits 20 and up of a frame number are in the low bits of a 32-bit CR3. */
static uint32_t narrow_cr3(uint64_t frame)
{
    return (uint32_t)frame << 12 | (uint32_t)frame >> 20;
}

static void back_registers32(struct core_savefile *core, uint32_t number)
{
    struct context32 *context =
        (struct context32 *)core->collected.domain.vcpu[number].context;
    uint32_t i;

    if (!number)
        context->edx = back(core, context->edx);
    if (core->format == CORE_ELF)
        return;
    for (i = 0; i < 16 && i * GDT_ENTRIES_A_PAGE < context->gdt_entries; i++)
        context->gdt_frame[i] = back(core, context->gdt_frame[i]);
    context->cr[3] = narrow_cr3(
        back(core, context->cr[3] >> 12 | context->cr[3] << 20));
}

static int prepare_pv(struct core_savefile *core, struct xensave_error *error)
{
    const struct core_domain *domain = &core->collected.domain;
    uint32_t i;

    if (read_p2m(core, error))
        return -1;
    for (i = 0; i < domain->vcpus; i++)
        if (domain->width == 8)
            back_registers64(core, i);
        else
            back_registers32(core, i);
    return 0;
}

/* ---- pages -------------------------------------------------------------- */

static bool is_left_out(const struct core_savefile *core, uint64_t pfn)
{
    return core->collected.domain.translated && core_skip_holes(pfn) != pfn;
}

/* Records are read through the page cache, a little around each batch. */
static void drop_records(struct core_savefile *core)
{
    if (!core->cached && ++core->windows % DROP_WINDOWS == 0)
        posix_fadvise(core->fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* The next pfns that a dump has, and their pages; none at the end. */
static int next_pages(struct core_savefile *core, struct core_batch *batch,
                      struct xensave_error *error)
{
    uint64_t first;
    uint32_t i;

    for (batch->count = 0; !batch->count; core->next = first + CORE_BATCH) {
        if (xensave_index_next(core->index, core->next, &first))
            return index_failed(core, error);
        if (first == UINT64_MAX)
            return 0;
        if (xensave_index_map(core->index, first, CORE_BATCH, core->window))
            return index_failed(core, error);
        drop_records(core);
        for (i = 0; i < CORE_BATCH; i++) {
            if (core->window[i].kind == XENSAVE_PAGE_ABSENT ||
                is_left_out(core, first + i))
                continue;
            core->page[batch->count] = core->window[i];
            batch->pfn[batch->count++] = first + i;
        }
    }
    return 0;
}

/* Page tables, of which a dump in the Xen format has machine frames. */
static bool is_translated(const struct core_savefile *core, uint32_t index)
{
    return core->p2m && core->format == CORE_XEN &&
           core_is_pagetable(core->page[index].type);
}

static void translate(struct core_savefile *core, uint8_t *page)
{
    uint64_t copy[XENSAVE_V2_PAGE_SIZE / sizeof(uint64_t)];

    core_pagetable(copy, page, pfn_to_mfn, core);
    memcpy(page, copy, sizeof(copy));
}

/* Whether its blocks can be shared as they are. */
static bool is_shareable(const struct core_savefile *core, uint32_t index)
{
    return core_can_share(&core->share) &&
           core->page[index].offset % XENSAVE_V2_PAGE_SIZE == 0 &&
           !is_translated(core, index);
}

static uint8_t *contents_of(const struct core_savefile *core, uint32_t index)
{
    return core->contents + (size_t)index * XENSAVE_V2_PAGE_SIZE;
}

static int read_page(struct core_savefile *core, uint32_t index,
                     struct xensave_error *error)
{
    uint8_t *page = contents_of(core, index);

    if (xensave_index_read(core->index, &core->page[index], page))
        return index_failed(core, error);
    if (core->indexed)
        core_take_vmcoreinfo(&core->collected, page);
    if (is_translated(core, index))
        translate(core, page);
    return 0;
}

static int saved_load(struct core_memory *memory, struct core_batch *batch,
                      uint32_t first, uint32_t count,
                      struct xensave_error *error)
{
    struct core_savefile *core = (struct core_savefile *)memory;
    uint32_t i;

    for (i = first; i < first + count; i++) {
        /* What is indexed was read when the batch was handed out. */
        if (!core->indexed && read_page(core, i, error))
            return -1;
        batch->page[i] = contents_of(core, i);
    }
    return 0;
}

/* Pages whose contents follow each other in the file. */
static uint32_t run_of(const struct xensave_index_page *page, uint32_t most)
{
    uint32_t run = 1;

    while (run < most &&
           page[run].offset ==
               page[0].offset + (uint64_t)run * XENSAVE_V2_PAGE_SIZE)
        run++;
    return run;
}

static bool saved_share(struct core_memory *memory,
                        const struct core_batch *batch, uint32_t first,
                        uint32_t count, uint64_t offset)
{
    struct core_savefile *core = (struct core_savefile *)memory;
    const struct xensave_index_page *page = core->page + first;
    uint32_t i, run;

    (void)batch;
    for (i = 0; i < count; i += run) {
        run = run_of(page + i, count - i);
        if (!core_share(&core->share, page[i].offset,
                        offset + (uint64_t)i * XENSAVE_V2_PAGE_SIZE,
                        (uint64_t)run * XENSAVE_V2_PAGE_SIZE))
            return false;
    }
    return true;
}

static int saved_next(struct core_memory *memory, struct core_batch *batch,
                      struct xensave_error *error)
{
    struct core_savefile *core = (struct core_savefile *)memory;
    uint32_t i;

    if (next_pages(core, batch, error))
        return -1;
    for (i = 0; i < batch->count; i++) {
        batch->mfn[i] = pfn_to_mfn(core, batch->pfn[i]);
        batch->page[i] = NULL;
        if (core->page[i].kind == XENSAVE_PAGE_ZERO)
            continue;
        batch->page[i] = is_shareable(core, i) ? CORE_UNREAD
                                               : contents_of(core, i);
        /* Shared blocks are verified, too. */
        if ((core->indexed || batch->page[i] != CORE_UNREAD) &&
            read_page(core, i, error))
            return -1;
    }
    return 0;
}

static int count_pages(struct core_savefile *core, struct xensave_error *error)
{
    struct core_batch *batch = malloc(sizeof(*batch));
    int r;

    if (!batch)
        return xensave_fail(error, ENOMEM, "cannot allocate a batch");
    do {
        r = next_pages(core, batch, error);
        core->collected.domain.nr_pages += batch->count;
    } while (!r && batch->count);
    free(batch);
    return r;
}

/* ---- opening ------------------------------------------------------------ */

static int open_savefile(struct core_savefile *core,
                         const struct xensave_file *savefile,
                         const struct core_options *options,
                         struct xensave_error *error)
{
    core->indexed = savefile->format == XENSAVE_FORMAT_V3 &&
                    savefile->header.index_offset;
    if (xensave_file_check(core->fd, savefile, error) ||
        (!core->indexed &&
         core_collect(&core->collected, core->fd, savefile, options, error)))
        return -1;
    core->cached = xensave_resident(core->fd, 0, savefile->file_size) >
                   (int64_t)savefile->file_size / 2;
    core->index = xensave_index_open(core->fd, savefile, &core->index_error);
    if (!core->index)
        return index_failed(core, error);
    if (core->indexed &&
        core_collect_indexed(&core->collected, core->index, error))
        return -1;
    /* Heads of batches: what lies between them is not to be read ahead. */
    posix_fadvise(core->fd, 0, 0, POSIX_FADV_RANDOM);
    core->contents = malloc((size_t)CORE_BATCH * XENSAVE_V2_PAGE_SIZE);
    if (!core->contents)
        return xensave_fail(error, ENOMEM, "no memory for pages");
    if (!core->collected.domain.translated && prepare_pv(core, error))
        return -1;
    return count_pages(core, error);
}

struct core_savefile *core_savefile_open(int fd,
                                         const struct xensave_file *savefile,
                                         const struct core_options *options,
                                         struct xensave_error *error)
{
    struct core_savefile *core = calloc(1, sizeof(*core));

    memset(error, 0, sizeof(*error));
    if (!core) {
        xensave_fail(error, ENOMEM, "cannot allocate a core");
        return NULL;
    }
    core->memory.next = saved_next;
    core->memory.share = saved_share;
    core->memory.load = saved_load;
    core_share_init(&core->share, fd, -1);
    core->fd = fd;
    core->format = options->format;
    if (open_savefile(core, savefile, options, error)) {
        core_savefile_free(core);
        return NULL;
    }
    return core;
}

struct core_domain *core_savefile_domain(struct core_savefile *core)
{
    return &core->collected.domain;
}

struct core_memory *core_savefile_memory(struct core_savefile *core,
                                         int target)
{
    core_share_init(&core->share, core->fd, target);
    core->next = 0;
    return &core->memory;
}

void core_savefile_free(struct core_savefile *core)
{
    if (!core)
        return;
    core_collected_free(&core->collected);
    xensave_index_free(core->index);
    if (!core->cached)
        posix_fadvise(core->fd, 0, 0, POSIX_FADV_DONTNEED);
    free(core->contents);
    free(core->p2m);
    free(core);
}
