/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A saved domain as a source of pages: spec 5. */
#include <linux/fs.h>
#include <sys/ioctl.h>

#include "core_context.h"
#include "core_saved.h"

/* Frames of a translated domain that a dump leaves out. */
#define VGA_FIRST       0xa0U
#define VGA_END         0xc0U
#define DEVICES_FIRST   0xf0000U
#define DEVICES_END     0x100000U

struct v3_core_savefile {
    struct v3_core_memory memory;       /* first: what callers hold */
    struct v3_core_collected collected;
    struct v3_core_places places;
    struct v3_core_reader reader;
    enum v3_core_format format;
    int fd;
    int target;                         /* -1: nothing can be shared */
    uint64_t *p2m;                      /* PV: mfn of each pfn */
    uint64_t p2m_size;
    uint64_t next;                      /* place */
    uint64_t batch_first;               /* place of the batch's first page */
    struct v3_buffers buffers;
    size_t used;
};

/* ---- PV: machine frames ------------------------------------------------- */

static uint64_t pfn_to_mfn(void *context, uint64_t pfn)
{
    const struct v3_core_savefile *core = context;

    return pfn < core->p2m_size ? core->p2m[pfn] : UINT64_MAX;
}

static int read_p2m_page(struct v3_core_savefile *core, uint64_t number,
                         struct v3_error *error)
{
    uint32_t width = core->collected.domain.width, i;
    uint32_t entries = V2_PAGE_SIZE / width, mfn32;
    uint64_t *entry = core->p2m + core->collected.p2m_first +
                      number * entries;
    const struct v3_core_place *place;
    const uint8_t *page;

    place = v3_core_places_look_up(&core->places,
                                   core->collected.p2m_pfn[number]);
    if (!place || place->offset == V3_CORE_PLACE_ZERO)
        return 0;
    page = v3_core_reader_read(&core->reader, core->buffers.base,
                               place->offset, V2_PAGE_SIZE, error);
    if (!page)
        return -1;
    if (width == 8) {
        memcpy(entry, page, V2_PAGE_SIZE);
        return 0;
    }
    for (i = 0; i < entries; i++) {
        memcpy(&mfn32, page + i * sizeof(mfn32), sizeof(mfn32));
        entry[i] = mfn32 == UINT32_MAX ? UINT64_MAX : mfn32;
    }
    return 0;
}

static int read_p2m(struct v3_core_savefile *core, struct v3_error *error)
{
    const struct v3_core_collected *collected = &core->collected;
    uint32_t entries = V2_PAGE_SIZE / collected->domain.width;
    uint64_t size = collected->p2m_first + collected->p2m_pfns * entries, i;

    core->p2m = malloc(size * sizeof(*core->p2m) + 1);
    if (!core->p2m)
        return v3_fail(error, ENOMEM, "no memory for the guest's table of "
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
static uint64_t back(struct v3_core_savefile *core, uint64_t pfn)
{
    uint64_t mfn = pfn_to_mfn(core, pfn);

    return mfn == UINT64_MAX ? pfn : mfn;
}

static void back_registers64(struct v3_core_savefile *core, uint32_t number)
{
    struct context64 *context =
        (struct context64 *)core->collected.domain.vcpu[number].context;
    uint32_t i;

    /* The suspend record, in the first vCPU's EDX. */
    if (!number)
        context->rdx = (context->rdx & ~(uint64_t)UINT32_MAX) |
                       (uint32_t)back(core, (uint32_t)context->rdx);
    if (core->format == V3_CORE_ELF)
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

static void back_registers32(struct v3_core_savefile *core, uint32_t number)
{
    struct context32 *context =
        (struct context32 *)core->collected.domain.vcpu[number].context;
    uint32_t i;

    if (!number)
        context->edx = back(core, context->edx);
    if (core->format == V3_CORE_ELF)
        return;
    for (i = 0; i < 16 && i * GDT_ENTRIES_A_PAGE < context->gdt_entries; i++)
        context->gdt_frame[i] = back(core, context->gdt_frame[i]);
    context->cr[3] = narrow_cr3(back(core, context->cr[3] >> 12 |
                                           context->cr[3] << 20));
}

static int prepare_pv(struct v3_core_savefile *core, struct v3_error *error)
{
    const struct v3_core_domain *domain = &core->collected.domain;
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

static void prepare_translated(struct v3_core_savefile *core)
{
    struct v3_core_place *place = core->places.place;
    uint64_t i, pfn, kept = 0;

    for (i = 0; i < core->places.count; i++) {
        pfn = place[i].pfn;
        if ((pfn >= VGA_FIRST && pfn < VGA_END) ||
            (pfn >= DEVICES_FIRST && pfn < DEVICES_END))
            continue;
        place[kept++] = place[i];
    }
    core->places.count = kept;
}

/* ---- pages -------------------------------------------------------------- */

/* Page tables, of which a dump in the Xen format has machine frames. */
static bool is_translated(const struct v3_core_savefile *core,
                          const struct v3_core_place *place)
{
    return core->p2m && core->format == V3_CORE_XEN &&
           v3_core_is_pagetable(place->type);
}

static void translate(struct v3_core_savefile *core, uint8_t *page)
{
    uint64_t copy[V2_PAGE_SIZE / sizeof(uint64_t)];

    v3_core_pagetable(copy, page, pfn_to_mfn, core);
    memcpy(page, copy, sizeof(copy));
}

/* Pages from `place` on whose contents follow each other in the file. */
static uint32_t run_of(const struct v3_core_place *place, uint32_t most)
{
    uint32_t run = 1;

    while (run < most && place[run].offset ==
                         place[0].offset + (uint64_t)run * V2_PAGE_SIZE)
        run++;
    return run;
}

static int load_run(struct v3_core_savefile *core,
                    struct v3_core_batch *batch, uint32_t first,
                    uint32_t count, struct v3_error *error)
{
    const struct v3_core_place *place = core->places.place +
                                        core->batch_first + first;
    size_t length = (size_t)count * V2_PAGE_SIZE;
    uint8_t *page;
    uint32_t i;

    page = v3_core_reader_read(&core->reader,
                               core->buffers.base + core->used,
                               place->offset, length, error);
    if (!page)
        return -1;
    core->used += v3_core_reader_room(&core->reader, place->offset, length);
    for (i = 0; i < count; i++, page += V2_PAGE_SIZE) {
        if (is_translated(core, &place[i]))
            translate(core, page);
        batch->page[first + i] = page;
    }
    return 0;
}

static int saved_load(struct v3_core_memory *memory,
                      struct v3_core_batch *batch, uint32_t first,
                      uint32_t count, struct v3_error *error)
{
    struct v3_core_savefile *core = (struct v3_core_savefile *)memory;
    const struct v3_core_place *place = core->places.place +
                                        core->batch_first;
    uint32_t i, end = first + count, run;

    for (i = first; i < end; i += run) {
        run = 1;
        if (place[i].offset == V3_CORE_PLACE_ZERO)
            continue;
        run = run_of(place + i, end - i);
        if (load_run(core, batch, i, run, error))
            return -1;
    }
    return 0;
}

static bool saved_share(struct v3_core_memory *memory,
                        const struct v3_core_batch *batch, uint32_t first,
                        uint32_t count, uint64_t offset)
{
    struct v3_core_savefile *core = (struct v3_core_savefile *)memory;
    const struct v3_core_place *place = core->places.place +
                                        core->batch_first + first;
    struct file_clone_range range = { .src_fd = core->fd };
    uint32_t i, run;

    (void)batch;
    for (i = 0; core->target >= 0 && i < count; i += run) {
        run = run_of(place + i, count - i);
        range.src_offset = place[i].offset;
        range.src_length = (uint64_t)run * V2_PAGE_SIZE;
        range.dest_offset = offset + (uint64_t)i * V2_PAGE_SIZE;
        /* The filesystem that refuses one refuses all. */
        if (ioctl(core->target, FICLONERANGE, &range))
            core->target = -1;
    }
    return core->target >= 0;
}

static bool is_shareable(const struct v3_core_savefile *core,
                         const struct v3_core_place *place)
{
    return core->target >= 0 && place->offset % V2_PAGE_SIZE == 0 &&
           !is_translated(core, place);
}

static int saved_next(struct v3_core_memory *memory,
                      struct v3_core_batch *batch, struct v3_error *error)
{
    struct v3_core_savefile *core = (struct v3_core_savefile *)memory;
    const struct v3_core_place *place = core->places.place + core->next;
    uint32_t i, run;

    batch->count = min_u64(core->places.count - core->next, V3_CORE_BATCH);
    core->batch_first = core->next;
    core->next += batch->count;
    core->used = 0;
    for (i = 0; i < batch->count; i++) {
        batch->pfn[i] = place[i].pfn;
        batch->mfn[i] = pfn_to_mfn(core, place[i].pfn);
        batch->page[i] = place[i].offset == V3_CORE_PLACE_ZERO
                         ? NULL : V3_CORE_UNREAD;
    }
    for (i = 0; i < batch->count; i += run) {
        run = 1;
        if (!batch->page[i] || is_shareable(core, &place[i]))
            continue;
        while (i + run < batch->count && batch->page[i + run] &&
               !is_shareable(core, &place[i + run]))
            run++;
        if (saved_load(memory, batch, i, run, error))
            return -1;
    }
    return 0;
}

/* ---- opening ------------------------------------------------------------ */

static int open_savefile(struct v3_core_savefile *core,
                         const struct v3_savefile *savefile,
                         struct v3_error *error)
{
    struct v3_core_domain *domain = &core->collected.domain;

    if (v3_savefile_check(core->fd, savefile, error) ||
        v3_core_collect(&core->collected, core->fd, savefile, error) ||
        v3_core_places_find(&core->places, core->fd, savefile, error) ||
        v3_core_reader_open(&core->reader, core->fd, error) ||
        /* Every page alone, at an odd offset of the file. */
        v3_buffers_alloc(&core->buffers, V3_CORE_BATCH,
                         V2_PAGE_SIZE + (core->reader.alignment
                                         ? core->reader.alignment
                                         : V3_ALIGNMENT_MIN), error))
        return -1;
    if (domain->translated)
        prepare_translated(core);
    else if (prepare_pv(core, error))
        return -1;
    domain->nr_pages = core->places.count;
    return 0;
}

struct v3_core_savefile *v3_core_savefile_open(
    int fd, const struct v3_savefile *savefile, enum v3_core_format format,
    struct v3_error *error)
{
    struct v3_core_savefile *core = calloc(1, sizeof(*core));

    memset(error, 0, sizeof(*error));
    if (!core) {
        v3_fail(error, ENOMEM, "cannot allocate a core");
        return NULL;
    }
    core->memory.next = saved_next;
    core->memory.share = saved_share;
    core->memory.load = saved_load;
    core->reader.fd = -1;
    core->target = -1;
    core->fd = fd;
    core->format = format;
    if (open_savefile(core, savefile, error)) {
        v3_core_savefile_free(core);
        return NULL;
    }
    return core;
}

struct v3_core_domain *v3_core_savefile_domain(struct v3_core_savefile *core)
{
    return &core->collected.domain;
}

struct v3_core_memory *v3_core_savefile_memory(struct v3_core_savefile *core,
                                               int target)
{
    core->target = target;
    core->next = 0;
    return &core->memory;
}

void v3_core_savefile_free(struct v3_core_savefile *core)
{
    if (!core)
        return;
    v3_core_collected_free(&core->collected);
    v3_core_reader_close(&core->reader);
    v3_buffers_free(&core->buffers);
    free(core->places.place);
    free(core->p2m);
    free(core);
}
