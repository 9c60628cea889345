/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Batches of a file with compressed ones are read ahead into a ring, until it
 * is full or another record comes: that one waits until they are handed out,
 * and so does an error.
 */
#include "decoder.h"

static int fill_job(struct xensave_decoder *decoder,
                    struct xensave_unpack_job *job, uint64_t number)
{
    job->offset = decoder->record_offset;
    job->number = decoder->record_number;
    if (xensave_decoder_read_head(decoder, &job->head, &job->shape, number,
                                  &job->pfns) ||
        xensave_source_read(decoder->source, job->stored, job->shape.stored))
        return -1;
    return xensave_decoder_zeros(decoder,
                                 record_padding(job->head.record.length));
}

static int read_ahead(struct xensave_decoder *decoder)
{
    struct xensave_unpack_job *job;

    while (!decoder->next.read &&
           (job = xensave_unpack_ring_job(decoder->ring))) {
        if (xensave_decoder_read_record(decoder))
            return -1;
        if (decoder->record.type != XENSAVE_RECORD_PAGE_DATA) {
            decoder->next.read = true;
            decoder->next.record = decoder->record;
            decoder->next.offset = decoder->record_offset;
            decoder->next.number = decoder->record_number;
            break;
        }
        if (fill_job(decoder, job, decoder->batches_read))
            return -1;
        decoder->batches_read++;
        xensave_unpack_ring_submit(decoder->ring);
    }
    return 0;
}

/* What is wrong behind them waits until they have been handed out. */
static void set_aside(struct xensave_decoder *decoder)
{
    decoder->failed = *decoder->error;
    memset(decoder->error, 0, sizeof(*decoder->error));
}

int xensave_decoder_ahead(struct xensave_decoder *decoder, bool *begun)
{
    struct xensave_unpack_job *job;

    if (!decoder->failed.text[0] && read_ahead(decoder))
        set_aside(decoder);
    job = xensave_unpack_ring_first(decoder->ring);
    if (!job && decoder->failed.text[0]) {
        *decoder->error = decoder->failed;
        return -1;
    }
    *begun = job;
    if (!job) {
        decoder->next.read = false;
        decoder->record = decoder->next.record;
        decoder->record_offset = decoder->next.offset;
        decoder->record_number = decoder->next.number;
        return 0;
    }
    decoder->job = job;
    decoder->record = job->head.record;
    decoder->record_offset = job->offset;
    decoder->record_number = job->number;
    return xensave_decoder_head_read(decoder, &job->head, &job->shape,
                                     &job->pfns);
}

int xensave_decoder_take_pages(struct xensave_decoder *decoder, uint8_t *to)
{
    struct xensave_unpack_job *job = decoder->job;

    xensave_unpack_ring_wait(decoder->ring);
    if (job->result)
        return xensave_decoder_bad_frame(decoder, job->result, job->frame);
    xensave_batch_spread(&job->head, job->pages, to);
    decoder->job = NULL;
    xensave_unpack_ring_release(decoder->ring);
    return 0;
}
