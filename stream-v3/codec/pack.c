/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads that compress, and the ring of jobs between them and the encoder. */
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/thread.h"
#include "pack.h"

#define THREADS_MAX 4U
/*
 * One that is being filled, one that waits for whichever thread is next, and
 * what a disk writes meanwhile if it is faster than they are.
 */
#define SPARE  4U
#define MOMENT 1000000L /* ns */

struct worker {
    struct xensave_packer *packer;
    void *state; /* of the codec */
    pthread_t thread;
};

struct xensave_packer {
    const struct xensave_codec_ops *codec;
    enum xensave_codec kind;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    /* Numbers of jobs; number n lives in n % count. */
    uint64_t released, started, submitted;
    bool stopping;
    uint32_t workers; /* that have a state, and ... */
    uint32_t threads; /* that have a thread, too */
    struct worker worker[THREADS_MAX];
    uint32_t count;
    struct xensave_pack_job job[];
};

static struct xensave_pack_job *job_of(struct xensave_packer *packer,
                                       uint64_t number)
{
    return &packer->job[number % packer->count];
}

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

static void *run(void *argument)
{
    struct worker *worker = argument;
    struct xensave_packer *packer = worker->packer;
    struct xensave_pack_job *job;

    pthread_mutex_lock(&packer->lock);
    for (;;) {
        while (packer->started == packer->submitted && !packer->stopping)
            pthread_cond_wait(&packer->work, &packer->lock);
        if (packer->stopping)
            break;
        job = job_of(packer, packer->started++);
        pthread_mutex_unlock(&packer->lock);
        compress(packer, worker->state, job);
        pthread_mutex_lock(&packer->lock);
        job->finished = true;
        pthread_cond_signal(&packer->done);
    }
    pthread_mutex_unlock(&packer->lock);
    return NULL;
}

/* ---- the ring ----------------------------------------------------------- */

struct xensave_pack_job *xensave_packer_job(struct xensave_packer *packer)
{
    if (packer->submitted - packer->released == packer->count)
        return NULL;
    return job_of(packer, packer->submitted);
}

void xensave_packer_submit(struct xensave_packer *packer)
{
    struct xensave_pack_job *job = job_of(packer, packer->submitted);

    job->finished = !packer->threads;
    if (job->finished)
        compress(packer, packer->worker[0].state, job);
    pthread_mutex_lock(&packer->lock);
    packer->submitted++;
    pthread_cond_signal(&packer->work);
    pthread_mutex_unlock(&packer->lock);
}

struct xensave_pack_job *xensave_packer_take(struct xensave_packer *packer)
{
    struct xensave_pack_job *job = job_of(packer, packer->released);

    if (packer->released == packer->submitted)
        return NULL;
    pthread_mutex_lock(&packer->lock);
    while (!job->finished)
        pthread_cond_wait(&packer->done, &packer->lock);
    pthread_mutex_unlock(&packer->lock);
    return job;
}

void xensave_packer_release(struct xensave_packer *packer)
{
    packer->released++;
}

bool xensave_packer_wait(struct xensave_packer *packer)
{
    const struct xensave_pack_job *job = job_of(packer, packer->released);
    const struct timespec until = monotonic_after(MOMENT);
    bool finished;

    pthread_mutex_lock(&packer->lock);
    if (!job->finished)
        pthread_cond_timedwait(&packer->done, &packer->lock, &until);
    finished = job->finished;
    pthread_mutex_unlock(&packer->lock);
    return finished;
}

void xensave_packer_give_up(struct xensave_packer *packer)
{
    uint64_t number, end;

    pthread_mutex_lock(&packer->lock);
    number = packer->started;
    end = packer->started = packer->submitted;
    pthread_mutex_unlock(&packer->lock);
    for (; number < end; number++) {
        struct xensave_pack_job *job = job_of(packer, number);

        compress(packer, NULL, job);
        /* No thread looks at it any more. */
        job->finished = true;
    }
}

/* ---- life --------------------------------------------------------------- */

static uint32_t default_threads(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    /* The caller, who hands the pages in, keeps one CPU busy. */
    return cpus < 3 ? 1 : min_u64(cpus - 1, THREADS_MAX);
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

/* Fewer threads than wanted do as well, and so does none. */
static int make_workers(struct xensave_packer *packer, uint32_t threads,
                        int level)
{
    struct worker *worker;

    for (; packer->workers < threads; packer->workers++) {
        worker = &packer->worker[packer->workers];
        worker->packer = packer;
        worker->state = packer->codec->pack_new(level);
        if (!worker->state)
            break;
    }
    if (!packer->workers)
        return -1;
    while (packer->threads < packer->workers &&
           !thread_start(&packer->worker[packer->threads].thread, run,
                         &packer->worker[packer->threads]))
        packer->threads++;
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
    threads = threads ? min_u64(threads, THREADS_MAX) : default_threads();
    count = threads + SPARE;
    packer = calloc(1, sizeof(*packer) + count * sizeof(packer->job[0]));
    if (!packer)
        goto no_memory;
    packer->codec = codec;
    packer->kind = compression->codec;
    packer->count = count;
    pthread_mutex_init(&packer->lock, NULL);
    pthread_cond_init(&packer->work, NULL);
    monotonic_cond_init(&packer->done);
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
    pthread_mutex_lock(&packer->lock);
    packer->stopping = true;
    pthread_cond_broadcast(&packer->work);
    pthread_mutex_unlock(&packer->lock);
    for (uint32_t i = 0; i < packer->threads; i++)
        pthread_join(packer->worker[i].thread, NULL);
    for (uint32_t i = 0; i < packer->workers; i++)
        packer->codec->pack_free(packer->worker[i].state);
    for (uint32_t i = 0; i < packer->count; i++) {
        free(packer->job[i].contents);
        free(packer->job[i].packed);
    }
    pthread_cond_destroy(&packer->work);
    pthread_cond_destroy(&packer->done);
    pthread_mutex_destroy(&packer->lock);
    free(packer);
}
