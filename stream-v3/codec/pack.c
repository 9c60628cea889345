/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Batches that are compressed in the threads of a ring. */
#include <unistd.h>

#include "common/clock.h"
#include "pack.h"
#include "ring.h"

/*
 * One that is being filled, one that waits for whichever thread is next, and
 * what a disk writes meanwhile if it is faster than they are.
 */
#define SPARE  4U
#define MOMENT 1000000L /* ns */
_Static_assert(XENSAVE_RING_THREADS + SPARE <= XENSAVE_RING_JOBS, "jobs");

struct xensave_packer {
    const struct xensave_codec_ops *codec;
    enum xensave_codec kind;
    struct xensave_ring ring;
    uint32_t workers;                  /* that have a state */
    void *state[XENSAVE_RING_THREADS]; /* of the codec */
    uint32_t count;
    struct xensave_pack_job job[];
};

/* ---- one job ------------------------------------------------------------ */

/* At least one block of a batch has to be gained. */
static bool gains(const struct xensave_pack_job *job)
{
    return job->shape.stored + XENSAVE_V2_PAGE_SIZE <=
           job->head.aligned.pages * XENSAVE_V2_PAGE_SIZE;
}

/* Fills in the ends and returns the bytes; one that gains nothing stays. */
static void compress_frames(const struct xensave_packer *packer, void *state,
                            struct xensave_pack_job *job)
{
    struct xensave_batch_shape *shape = &job->shape;
    xensave_frame_end *end = xensave_batch_ends(&job->head, shape->frames);
    uint32_t left = job->head.aligned.pages * XENSAVE_V2_PAGE_SIZE, length;
    const uint8_t *from = job->contents;
    size_t packed;

    for (uint32_t i = 0; i < shape->frames; i++) {
        length = min_u64(left, shape->frame_pages * XENSAVE_V2_PAGE_SIZE);
        packed = packer->codec->pack(state, job->packed + shape->stored,
                                     length - 1, from, length);
        if (!packed) {
            memcpy(job->packed + shape->stored, from, length);
            packed = length;
        }
        shape->stored += packed;
        end[i] = shape->stored;
        from += length;
        left -= length;
    }
}

static void shape_as(struct xensave_pack_job *job, enum xensave_codec codec)
{
    job->head.aligned.flags = codec | XENSAVE_FRAME_LOG_PACKED
                                          << XENSAVE_BATCH_FRAME_SHIFT;
    xensave_batch_shape(&job->head.aligned, &job->shape);
}

/* `state` NULL: as it is. */
static void compress(const struct xensave_packer *packer, void *state,
                     struct xensave_pack_job *job)
{
    shape_as(job, packer->kind);
    job->stored = job->packed;
    if (state && job->head.aligned.pages > 1)
        compress_frames(packer, state, job);
    if (!job->shape.stored || !gains(job)) {
        shape_as(job, XENSAVE_CODEC_NONE);
        xensave_batch_whole_frames(&job->head, &job->shape);
        job->stored = job->contents;
    }
    xensave_batch_check_frames(&job->head, &job->shape, job->stored);
}

static void run(void *context, uint32_t worker, uint32_t place)
{
    struct xensave_packer *packer = context;

    compress(packer, packer->state[worker], &packer->job[place]);
}

static void leave(void *context, uint32_t worker, uint32_t place)
{
    struct xensave_packer *packer = context;

    (void)worker;
    compress(packer, NULL, &packer->job[place]);
}

/* ---- the ring ----------------------------------------------------------- */

static struct xensave_pack_job *job_at(struct xensave_packer *packer,
                                       uint32_t place)
{
    return place == XENSAVE_RING_NONE ? NULL : &packer->job[place];
}

struct xensave_pack_job *xensave_packer_job(struct xensave_packer *packer)
{
    return job_at(packer, xensave_ring_room(&packer->ring));
}

void xensave_packer_submit(struct xensave_packer *packer)
{
    xensave_ring_submit(&packer->ring);
}

struct xensave_pack_job *xensave_packer_take(struct xensave_packer *packer)
{
    struct xensave_pack_job *job = job_at(packer,
                                          xensave_ring_first(&packer->ring));

    if (job)
        xensave_ring_wait(&packer->ring, NULL);
    return job;
}

void xensave_packer_release(struct xensave_packer *packer)
{
    xensave_ring_release(&packer->ring);
}

bool xensave_packer_wait(struct xensave_packer *packer)
{
    const struct timespec until = monotonic_after(MOMENT);

    return xensave_ring_wait(&packer->ring, &until);
}

void xensave_packer_give_up(struct xensave_packer *packer)
{
    xensave_ring_take_back(&packer->ring, leave);
}

/* ---- life --------------------------------------------------------------- */

static uint32_t default_threads(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    /* The caller, who hands the pages in, keeps one CPU busy. */
    return cpus < 3 ? 1 : min_u64(cpus - 1, XENSAVE_RING_THREADS);
}

static int make_jobs(struct xensave_packer *packer)
{
    struct xensave_pack_job *job = packer->job;

    for (; job < packer->job + packer->count; job++) {
        job->contents = malloc((size_t)XENSAVE_BATCH_MAX *
                               XENSAVE_V2_PAGE_SIZE);
        job->packed = malloc((size_t)XENSAVE_BATCH_MAX * XENSAVE_V2_PAGE_SIZE);
        if (!job->contents || !job->packed)
            return -1;
    }
    return 0;
}

/* Fewer than wanted do as well. */
static int make_workers(struct xensave_packer *packer, uint32_t threads,
                        int level)
{
    for (; packer->workers < threads; packer->workers++) {
        packer->state[packer->workers] = packer->codec->pack_new(level);
        if (!packer->state[packer->workers])
            break;
    }
    if (!packer->workers)
        return -1;
    xensave_ring_start(&packer->ring, packer->workers);
    return 0;
}

struct xensave_packer *xensave_packer_new(
    const struct xensave_compression *compression, uint32_t threads,
    struct xensave_error *error)
{
    const struct xensave_codec_ops *codec = xensave_codec_find(
        compression->codec);
    const struct xensave_codec_facts *facts = xensave_codec_facts(
        compression->codec);
    int level = compression->level;
    struct xensave_packer *packer;
    uint32_t count;

    if (codec && !level)
        level = facts->level_default;
    if (!codec || level < 1 || level > facts->level_max) {
        xensave_fail(error, EINVAL,
                     "no such compression, or no such level of it");
        return NULL;
    }
    threads = threads ? min_u64(threads, XENSAVE_RING_THREADS)
                      : default_threads();
    count = threads + SPARE;
    packer = calloc(1, sizeof(*packer) + count * sizeof(packer->job[0]));
    if (!packer)
        goto no_memory;
    packer->codec = codec;
    packer->kind = compression->codec;
    packer->count = count;
    xensave_ring_init(&packer->ring, count, run, packer);
    if (!make_jobs(packer) && !make_workers(packer, threads, level))
        return packer;

no_memory:
    xensave_fail(error, ENOMEM,
                 "cannot allocate memory to compress %u batches at "
                 "once",
                 count);
    xensave_packer_free(packer);
    return NULL;
}

void xensave_packer_free(struct xensave_packer *packer)
{
    if (!packer)
        return;
    xensave_ring_stop(&packer->ring);
    for (uint32_t i = 0; i < packer->workers; i++)
        packer->codec->pack_free(packer->state[i]);
    for (uint32_t i = 0; i < packer->count; i++) {
        free(packer->job[i].contents);
        free(packer->job[i].packed);
    }
    free(packer);
}
