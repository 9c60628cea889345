/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Spec 3.2.1 from the writer's side: the pages of a batch are copied when they
 * come, since they are the caller's only until then; what they compress to is
 * written when all that came before has been.
 */
#include "encoder.h"

static int write_batch(struct xensave_encoder *encoder,
                       struct xensave_pack_job *job)
{
    struct xensave_sink *sink = encoder->sink;
    uint64_t offset = xensave_sink_offset(sink);
    size_t length = xensave_batch_head_length(&job->shape);
    struct xensave_pfns pfns;

    xensave_pfns_check(job->head.arrays, job->head.aligned.count, true, &pfns);
    if (xensave_encoder_seal_batch(
            encoder, &job->head, &job->shape, &pfns, offset,
            xensave_encoder_pages_offset(encoder, &job->head, offset,
                                         pfns.contents)))
        return -1;
    encoder->packed |= job->shape.codec != XENSAVE_CODEC_NONE;
    if (xensave_sink_write(sink, &job->head, length) ||
        xensave_sink_zeros(sink, job->head.aligned.pad_length) ||
        xensave_sink_write(sink, job->stored, job->shape.stored))
        return -1;
    return xensave_sink_zeros(sink, record_padding(job->head.record.length));
}

/* What keeps even a fast device busy for as long as one look at it takes. */
#define PENDING_LEAST (2U << 20)

/*
 * The first batch is not finished, and there is no room for another.  As long
 * as the device has something to do, nothing is lost by waiting.
 */
static void wait_for_first(struct xensave_encoder *encoder)
{
    struct xensave_sink *sink = encoder->sink;

    while (!xensave_packer_wait(encoder->packer)) {
        if (sink->ops->pending && sink->ops->pending(sink) > PENDING_LEAST)
            continue;
        xensave_packer_give_up(encoder->packer);
        return;
    }
}

/* The first of those under way; 1 if there is none. */
static int write_first(struct xensave_encoder *encoder)
{
    struct xensave_pack_job *job = xensave_packer_take(encoder->packer);
    int r;

    if (!job)
        return 1;
    r = write_batch(encoder, job);
    xensave_packer_release(encoder->packer);
    return r;
}

static int packed_flush(struct xensave_encoder *encoder)
{
    int r;

    do
        r = write_first(encoder);
    while (!r);
    return r < 0 ? -1 : 0;
}

/*
 * One is written for each that comes, and no sooner: while it is, the threads
 * have something to do.
 */
static int packed_batch(struct xensave_encoder *encoder)
{
    struct xensave_pack_job *job = xensave_packer_job(encoder->packer);
    struct xensave_aligned_page_data *aligned;

    if (!job) {
        if (!encoder->options.compression.all)
            wait_for_first(encoder);
        if (write_first(encoder))
            return -1;
        job = xensave_packer_job(encoder->packer);
    }
    aligned = &job->head.aligned;
    memset(aligned, 0, sizeof(*aligned));
    aligned->count = encoder->page_data.count;
    memcpy(job->head.arrays, encoder->pfns, 8 * (size_t)aligned->count);
    encoder->job = job;
    return 0;
}

static int packed_page(struct xensave_encoder *encoder, const void *page)
{
    struct xensave_pack_job *job = encoder->job;

    if (!encoder->options.keep_zero_pages && xensave_page_is_zero(page)) {
        job->head.arrays[encoder->next_pfn] |= XENSAVE_PFN_ZERO;
        encoder->totals.pages_zero++;
        return 0;
    }
    memcpy(job->contents +
               (size_t)job->head.aligned.pages * XENSAVE_V2_PAGE_SIZE,
           page, XENSAVE_V2_PAGE_SIZE);
    job->head.aligned.pages++;
    encoder->totals.pages_stored++;
    return 0;
}

static int packed_batch_end(struct xensave_encoder *encoder)
{
    xensave_packer_submit(encoder->packer);
    return 0;
}

static int packed_end(struct xensave_encoder *encoder)
{
    return packed_flush(encoder) || xensave_encoder_v3.end(encoder) ? -1 : 0;
}

/* Everything but the batches is as without compression. */
static int packed_begin(struct xensave_encoder *encoder)
{
    return xensave_encoder_v3.begin(encoder);
}

static int packed_finished(struct xensave_encoder *encoder)
{
    if (!encoder->packed)
        encoder->header.body.mandatory_features = 0;
    return xensave_encoder_v3.finished(encoder);
}

const struct xensave_encoder_format xensave_encoder_packed = {
    .listed = true,
    .begin = packed_begin,
    .batch = packed_batch,
    .page = packed_page,
    .batch_end = packed_batch_end,
    .flush = packed_flush,
    .end = packed_end,
    .finished = packed_finished,
};
