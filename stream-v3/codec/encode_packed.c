/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Spec 3.2.1 from the writer's side: the pages of a batch are copied when they
 * come, since they are the caller's only until then; what they compress to is
 * written when all that came before has been.
 */
#include "encoder.h"
#include "page.h"

static int write_batch(struct v3_encoder *encoder,
                       const struct v3_pack_job *job)
{
    struct v3_sink *sink = encoder->sink;
    uint64_t offset = v3_sink_offset(sink), contents;
    struct v3_batch_head head;
    size_t length;

    memset(&head.aligned, 0, sizeof(head.aligned));
    head.aligned.count = job->count;
    head.aligned.pages = job->pages;
    head.aligned.flags = job->codec;
    memcpy(head.pfns, job->pfns, 8 * (size_t)job->count);
    length = v3_batch_head_length(job->count);
    contents = job->pages ? round_up(offset + length, sink->alignment) : 0;
    if (contents)
        head.aligned.pad_length = contents - offset - length;
    v3_encoder_seal_batch(encoder, &head, job->length, &job->checksum);
    encoder->packed |= job->codec != V3_CODEC_NONE;
    if (v3_sink_write(sink, &head, length) ||
        v3_sink_zeros(sink, head.aligned.pad_length) ||
        v3_sink_write(sink, job->stored, job->length) ||
        v3_sink_zeros(sink, record_padding(head.record.length)))
        return -1;
    return v3_encoder_add_to_index(encoder, &head, offset, contents);
}

/* What keeps even a fast device busy for as long as one look at it takes. */
#define PENDING_LEAST   (2U << 20)

/*
 * The first batch is not finished, and there is no room for another.  As long
 * as the device has something to do, nothing is lost by waiting.
 */
static void wait_for_first(struct v3_encoder *encoder)
{
    struct v3_sink *sink = encoder->sink;

    while (!v3_packer_wait(encoder->packer)) {
        if (sink->ops->pending && sink->ops->pending(sink) > PENDING_LEAST)
            continue;
        v3_packer_give_up(encoder->packer);
        return;
    }
}

/* The first of those under way; 1 if there is none. */
static int write_first(struct v3_encoder *encoder)
{
    struct v3_pack_job *job = v3_packer_take(encoder->packer);
    int r;

    if (!job)
        return 1;
    r = write_batch(encoder, job);
    v3_packer_release(encoder->packer);
    return r;
}

static int packed_flush(struct v3_encoder *encoder)
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
static int packed_batch(struct v3_encoder *encoder)
{
    uint32_t count = encoder->page_data.count;
    struct v3_pack_job *job = v3_packer_room(encoder->packer);

    if (!job) {
        if (!encoder->options.compression.all)
            wait_for_first(encoder);
        if (write_first(encoder))
            return -1;
        job = v3_packer_room(encoder->packer);
    }
    job->count = count;
    job->pages = 0;
    memcpy(job->pfns, encoder->pfns, 8 * (size_t)count);
    encoder->job = job;
    return 0;
}

static int packed_page(struct v3_encoder *encoder, const void *page)
{
    struct v3_pack_job *job = encoder->job;

    if (!encoder->options.keep_zero_pages && v3_page_is_zero(page)) {
        job->pfns[encoder->next_pfn] |= V3_PFN_ZERO;
        encoder->totals.pages_zero++;
        return 0;
    }
    memcpy(job->contents + (size_t)job->pages * V2_PAGE_SIZE, page,
           V2_PAGE_SIZE);
    job->pages++;
    encoder->totals.pages_stored++;
    return 0;
}

static int packed_batch_end(struct v3_encoder *encoder)
{
    v3_packer_submit(encoder->packer);
    return 0;
}

static int packed_end(struct v3_encoder *encoder)
{
    return packed_flush(encoder) || v3_encoder_v3.end(encoder) ? -1 : 0;
}

/* Everything but the batches is as without compression. */
static int packed_begin(struct v3_encoder *encoder)
{
    return v3_encoder_v3.begin(encoder);
}

static int packed_finished(struct v3_encoder *encoder)
{
    if (!encoder->packed)
        encoder->header.body.mandatory_features = 0;
    return v3_encoder_v3.finished(encoder);
}

const struct v3_encoder_format v3_encoder_packed = {
    .context = true,
    .begin = packed_begin,
    .batch = packed_batch,
    .page = packed_page,
    .batch_end = packed_batch_end,
    .flush = packed_flush,
    .end = packed_end,
    .finished = packed_finished,
};
