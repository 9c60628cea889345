/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Core files: from batches of pages to a sink, whatever the format. */
#include "write.h"

#define PROGRESS_PAGES 4096U

static const struct xensave_name format_names[] = {
    { CORE_XEN, "xen" },
    { CORE_ELF, "elf" },
};

static const struct core_format_ops *const formats[] = {
    [CORE_XEN] = &core_xen,
    [CORE_ELF] = &core_elf,
};

const char *core_format_name(enum core_format format)
{
    return xensave_name_of(format_names, ARRAY_SIZE(format_names), format);
}

int core_format_parse(const char *name, enum core_format *format)
{
    int value;

    if (xensave_value_of(format_names, ARRAY_SIZE(format_names), name, &value))
        return -1;
    *format = value;
    return 0;
}

uint64_t core_size(const struct core_domain *domain, enum core_format format)
{
    return formats[format]->size(domain);
}

/* ---- bytes ------------------------------------------------------------- */

static int flush_zeros(struct core_writer *writer)
{
    uint64_t length = writer->pending_zeros;

    writer->pending_zeros = 0;
    return length ? xensave_sink_skip(writer->sink, length) : 0;
}

int core_put(struct core_writer *writer, const void *data, size_t length)
{
    if (flush_zeros(writer))
        return -1;
    return xensave_sink_write(writer->sink, data, length);
}

int core_put_zeros(struct core_writer *writer, uint64_t length)
{
    size_t part;

    if (!writer->options->no_sparse) {
        writer->pending_zeros += length;
        return 0;
    }
    for (; length; length -= part) {
        part = min_u64(length, XENSAVE_ALIGNMENT_MAX);
        if (xensave_sink_zeros(writer->sink, part))
            return -1;
    }
    return 0;
}

int core_finish(struct core_writer *writer)
{
    if (flush_zeros(writer))
        return -1;
    return xensave_sink_finish(writer->sink);
}

/* ---- pages -------------------------------------------------------------- */

enum kind { KIND_ZERO, KIND_UNREAD, KIND_DATA };

static enum kind kind_of(const struct core_writer *writer, const void *page)
{
    if (!page)
        return KIND_ZERO;
    if (page == CORE_UNREAD)
        return KIND_UNREAD;
    if (!writer->options->no_sparse && xensave_page_is_zero(page))
        return KIND_ZERO;
    return KIND_DATA;
}

static int put_data(struct core_writer *writer, uint32_t first, uint32_t count)
{
    const void *const *page = writer->batch.page + first;
    uint32_t i, run;

    for (i = 0; i < count; i += run) {
        for (run = 1; i + run < count; run++)
            if (page[i + run] !=
                (const char *)page[i] + (size_t)run * XENSAVE_V2_PAGE_SIZE)
                break;
        if (core_put(writer, page[i], (size_t)run * XENSAVE_V2_PAGE_SIZE))
            return -1;
    }
    return 0;
}

/* Blocks can be shared where the sink will leave them alone. */
static bool share(struct core_writer *writer, uint32_t first, uint32_t count)
{
    uint64_t length = (uint64_t)count * XENSAVE_V2_PAGE_SIZE, offset;
    struct xensave_sink *sink = writer->sink;

    if (flush_zeros(writer))
        return false;
    offset = xensave_sink_offset(sink);
    if (length < XENSAVE_HOLE_MIN || offset % sink->alignment ||
        length % sink->alignment || !sink->ops->can_skip ||
        !sink->ops->can_skip(sink))
        return false;
    return writer->memory->share(writer->memory, &writer->batch, first, count,
                                 offset) &&
           !xensave_sink_skip(sink, length);
}

static int put_unread(struct core_writer *writer, uint32_t first,
                      uint32_t count)
{
    uint32_t i, n, run;

    if (share(writer, first, count)) {
        writer->result->shared_pages += count;
        return 0;
    }
    if (writer->error->text[0] || writer->sink->error->text[0] ||
        writer->memory->load(writer->memory, &writer->batch, first, count,
                             writer->error))
        return -1;
    for (i = first, n = first + count; i < n; i += run) {
        enum kind kind = kind_of(writer, writer->batch.page[i]);

        for (run = 1; i + run < n; run++)
            if (kind_of(writer, writer->batch.page[i + run]) != kind)
                break;
        if (kind == KIND_DATA
                ? put_data(writer, i, run)
                : core_put_zeros(writer, (uint64_t)run * XENSAVE_V2_PAGE_SIZE))
            return -1;
        if (kind == KIND_ZERO)
            writer->result->zero_pages += run;
    }
    return 0;
}

static int put_run(struct core_writer *writer, enum kind kind, uint32_t first,
                   uint32_t count)
{
    switch (kind) {
    case KIND_ZERO:
        writer->result->zero_pages += count;
        return core_put_zeros(writer, (uint64_t)count * XENSAVE_V2_PAGE_SIZE);
    case KIND_UNREAD:
        return put_unread(writer, first, count);
    default:
        return put_data(writer, first, count);
    }
}

static int put_batch(struct core_writer *writer)
{
    uint32_t count = writer->batch.count, i, run;
    enum kind kind[CORE_BATCH];

    for (i = 0; i < count; i++)
        kind[i] = kind_of(writer, writer->batch.page[i]);
    for (i = 0; i < count; i += run) {
        for (run = 1; i + run < count && kind[i + run] == kind[i]; run++)
            ;
        if (put_run(writer, kind[i], i, run))
            return -1;
    }
    return 0;
}

static void tell_progress(struct core_writer *writer, bool end)
{
    const struct core_options *options = writer->options;
    uint64_t pages = writer->result->pages;

    if (!options->progress || (!end && pages < writer->progress_at))
        return;
    writer->progress_at = pages + PROGRESS_PAGES;
    /* What a domain has where no dump looks is never reached. */
    options->progress(options->progress_context,
                      end ? writer->domain->nr_pages : pages,
                      writer->domain->nr_pages);
}

int core_put_pages(struct core_writer *writer, uint64_t limit,
                   int (*noted)(struct core_writer *writer, void *context,
                                uint64_t number, uint32_t index,
                                const void *page),
                   void *context)
{
    struct core_batch *batch = &writer->batch;
    struct core_result *result = writer->result;
    uint32_t i, over;

    for (;;) {
        if (writer->memory->next(writer->memory, batch, writer->error))
            return -1;
        if (!batch->count)
            break;
        over = 0;
        if (batch->count > limit - result->pages)
            over = batch->count - (limit - result->pages);
        batch->count -= over;
        result->lost += over;
        for (i = 0; i < batch->count; i++)
            if (noted(writer, context, result->pages + i, i, batch->page[i]))
                return -1;
        if (put_batch(writer))
            return -1;
        result->pages += batch->count;
        tell_progress(writer, false);
    }
    tell_progress(writer, true);
    return 0;
}

/* ---- the whole ---------------------------------------------------------- */

int core_write(struct xensave_sink *sink, const struct core_domain *domain,
               struct core_memory *memory, const struct core_options *options,
               struct core_result *result, struct xensave_error *error)
{
    struct core_writer *writer;
    int r;

    memset(error, 0, sizeof(*error));
    memset(result, 0, sizeof(*result));
    writer = calloc(1, sizeof(*writer));
    if (!writer)
        return xensave_fail(error, ENOMEM, "cannot allocate a core writer");
    writer->sink = sink;
    writer->domain = domain;
    writer->memory = memory;
    writer->options = options;
    writer->result = result;
    writer->error = error;
    /* What is written over may be a save that says that it is whole. */
    r = xensave_sink_settle(sink);
    if (!r)
        r = formats[options->format]->write(writer);
    /* What failed in the sink is said there. */
    if (r && !error->text[0])
        *error = *sink->error;
    free(writer);
    return r;
}
