/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any bytes as a save file that becomes a core, in a sink that keeps none. */
#include <elf.h>
#include <string.h>

#include "core/saved.h"
#include "fuzz.h"

#define FLAG_ELF       1U
#define FLAG_NO_SPARSE 2U
#define FLAG_STREAM    4U /* a sink that takes no second look */
#define FLAG_SHARE     8U /* the filesystem can share blocks */
#define FLAG_NO_HOLES  16U

/* No seed needs more; the ELF format's room for headers is a fourth of it. */
#define WRITTEN_MAX (4U << 20)

bool __wrap_core_share(struct core_share *share, uint64_t from, uint64_t to,
                       uint64_t length);

static size_t file_size;

/* ---- the sink ----------------------------------------------------------- */

static uint8_t scratch[1 << 16];

struct null_sink {
    struct xensave_sink sink;
    bool holes;
    Elf64_Ehdr header;
};

static void *null_room(struct xensave_sink *sink, size_t want, size_t *got)
{
    if (sink->offset > WRITTEN_MAX) {
        xensave_fail(sink->error, ENOSPC, "full");
        return NULL;
    }
    *got = min_u64(want, sizeof(scratch));
    return scratch;
}

static void null_advance(struct xensave_sink *sink, size_t length)
{
    sink->offset += length;
}

static bool null_can_skip(const struct xensave_sink *sink)
{
    return ((const struct null_sink *)sink)->holes;
}

static int null_skip(struct xensave_sink *sink, uint64_t length)
{
    FUZZ_ASSERT(length % sink->alignment == 0, NULL);
    FUZZ_ASSERT(sink->offset % sink->alignment == 0, NULL);
    sink->offset += length;
    return 0;
}

static int null_finish(struct xensave_sink *sink)
{
    sink->finished = true;
    return 0;
}

static void check_program_headers(const struct xensave_sink *sink,
                                  const Elf64_Phdr *header, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        Elf64_Phdr of;

        memcpy(&of, header + i, sizeof(of));
        FUZZ_ASSERT(of.p_type == (i ? PT_LOAD : PT_NOTE), NULL);
        FUZZ_ASSERT(of.p_offset <= sink->offset &&
                        of.p_filesz <= sink->offset - of.p_offset,
                    NULL);
        if (i)
            FUZZ_ASSERT(of.p_offset % XENSAVE_V2_PAGE_SIZE == 0 &&
                            of.p_paddr % XENSAVE_V2_PAGE_SIZE == 0,
                        NULL);
    }
}

static int null_rewrite(struct xensave_sink *sink, uint64_t offset,
                        const void *data, size_t length)
{
    struct null_sink *null = (struct null_sink *)sink;

    FUZZ_ASSERT(sink->finished && sink->rewritable, NULL);
    FUZZ_ASSERT(offset <= sink->offset && length <= sink->offset - offset,
                NULL);
    if (!offset) {
        FUZZ_ASSERT(length == sizeof(null->header), NULL);
        memcpy(&null->header, data, length);
    } else if (offset == sizeof(null->header)) {
        check_program_headers(sink, data, length / sizeof(Elf64_Phdr));
    }
    return 0;
}

static const struct xensave_sink_ops null_ops = {
    .space = null_room,
    .advance = null_advance,
    .can_skip = null_can_skip,
    .skip = null_skip,
    .finish = null_finish,
    .rewrite = null_rewrite,
};

/* ---- sharing ------------------------------------------------------------ */

bool __wrap_core_share(struct core_share *share, uint64_t from, uint64_t to,
                       uint64_t length)
{
    FUZZ_ASSERT(core_can_share(share), NULL);
    FUZZ_ASSERT(from % XENSAVE_V2_PAGE_SIZE == 0 &&
                    to % XENSAVE_V2_PAGE_SIZE == 0,
                NULL);
    /* The kernel refuses what lies behind the end. */
    return from <= file_size && length <= file_size - from;
}

/* ---- one file ----------------------------------------------------------- */

static void assert_written(const struct null_sink *null,
                           const struct core_domain *domain,
                           const struct core_options *options,
                           const struct core_result *result)
{
    FUZZ_ASSERT(null->sink.finished, NULL);
    FUZZ_ASSERT(result->pages == domain->nr_pages, NULL);
    FUZZ_ASSERT(!result->missing && !result->lost, NULL);
    FUZZ_ASSERT(result->zero_pages + result->shared_pages <= result->pages,
                NULL);
    if (options->format == CORE_XEN) {
        FUZZ_ASSERT(null->sink.offset == core_size(domain, CORE_XEN), NULL);
        return;
    }
    FUZZ_ASSERT(!memcmp(null->header.e_ident, ELFMAG, SELFMAG), NULL);
    FUZZ_ASSERT(null->header.e_phnum == result->segments + 1, NULL);
    FUZZ_ASSERT(result->segments <= 2 * domain->nr_pages, NULL);
}

static void write_core(struct core_savefile *core, uint8_t flags,
                       const struct core_options *options)
{
    struct core_domain *domain = core_savefile_domain(core);
    struct xensave_error sink_error = { 0 }, error;
    struct null_sink null = { .holes = !(flags & FLAG_NO_HOLES) };
    struct core_result result;

    xensave_sink_init(&null.sink, &null_ops, &sink_error);
    null.sink.rewritable = !(flags & FLAG_STREAM);
    if (core_write(&null.sink, domain,
                   core_savefile_memory(core, flags & FLAG_SHARE ? 0 : -1),
                   options, &result, &error))
        fuzz_assert_error(&error);
    else
        assert_written(&null, domain, options, &result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct core_options options = { 0 };
    struct core_savefile *core;
    struct fuzz_control control;
    struct xensave_file savefile;
    struct xensave_error error;
    int fd;

    if (!fuzz_control(&control, &data, &size))
        return 0;
    file_size = size;
    fd = fuzz_memory(data, size);
    if (xensave_file_probe(fd, UINT64_MAX, &savefile, &error))
        return 0;
    options.format = control.flags & FLAG_ELF ? CORE_ELF : CORE_XEN;
    options.no_sparse = control.flags & FLAG_NO_SPARSE;
    core = core_savefile_open(fd, &savefile, &options, &error);
    if (core)
        write_core(core, control.flags, &options);
    else
        fuzz_assert_error(&error);
    core_savefile_free(core);
    return 0;
}
