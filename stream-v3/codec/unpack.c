/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pack.c's ring, reversed. */
#include <unistd.h>

#include "common/thread.h"
#include "unpack.h"

#define THREADS_MAX 4U
/* One that is being read, and one that the caller takes from. */
#define SPARE 2U

struct worker {
    struct xensave_unpack_ring *ring;
    struct xensave_unpacker unpacker;
    pthread_t thread;
};

struct xensave_unpack_ring {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    /* Numbers of jobs; number n lives in n % count. */
    uint64_t released, started, submitted;
    bool stopping;
    uint32_t threads;
    struct worker worker[THREADS_MAX];
    uint32_t count;
    struct xensave_unpack_job job[];
};

static struct xensave_unpack_job *job_of(struct xensave_unpack_ring *ring,
                                         uint64_t number)
{
    return &ring->job[number % ring->count];
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    struct xensave_unpack_ring *ring = worker->ring;
    struct xensave_unpack_job *job;

    pthread_mutex_lock(&ring->lock);
    for (;;) {
        while (ring->started == ring->submitted && !ring->stopping)
            pthread_cond_wait(&ring->work, &ring->lock);
        if (ring->stopping)
            break;
        job = job_of(ring, ring->started++);
        pthread_mutex_unlock(&ring->lock);
        job->result = xensave_batch_open(&worker->unpacker, &job->head,
                                         &job->shape, job->stored, job->pages,
                                         &job->frame);
        pthread_mutex_lock(&ring->lock);
        job->finished = true;
        pthread_cond_signal(&ring->done);
    }
    pthread_mutex_unlock(&ring->lock);
    return NULL;
}

struct xensave_unpack_job *xensave_unpack_ring_job(
    struct xensave_unpack_ring *ring)
{
    return ring->submitted - ring->released == ring->count
               ? NULL
               : job_of(ring, ring->submitted);
}

void xensave_unpack_ring_submit(struct xensave_unpack_ring *ring)
{
    job_of(ring, ring->submitted)->finished = false;
    pthread_mutex_lock(&ring->lock);
    ring->submitted++;
    pthread_cond_signal(&ring->work);
    pthread_mutex_unlock(&ring->lock);
}

struct xensave_unpack_job *xensave_unpack_ring_first(
    struct xensave_unpack_ring *ring)
{
    return ring->released == ring->submitted ? NULL
                                             : job_of(ring, ring->released);
}

void xensave_unpack_ring_wait(struct xensave_unpack_ring *ring,
                              struct xensave_unpack_job *job)
{
    pthread_mutex_lock(&ring->lock);
    while (!job->finished)
        pthread_cond_wait(&ring->done, &ring->lock);
    pthread_mutex_unlock(&ring->lock);
}

void xensave_unpack_ring_release(struct xensave_unpack_ring *ring)
{
    ring->released++;
}

/* ---- life --------------------------------------------------------------- */

static int make_jobs(struct xensave_unpack_ring *ring)
{
    const size_t room = (size_t)XENSAVE_BATCH_MAX * XENSAVE_V2_PAGE_SIZE;
    struct xensave_unpack_job *job = ring->job;

    for (; job < ring->job + ring->count; job++) {
        job->stored = malloc(room);
        job->pages = malloc(room);
        if (!job->stored || !job->pages)
            return -1;
    }
    return 0;
}

struct xensave_unpack_ring *xensave_unpack_ring_new(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    /* The caller waits for them, or reads what they will need next. */
    uint32_t threads = cpus < 1 ? 1 : min_u64(cpus, THREADS_MAX);
    uint32_t count = threads + SPARE;
    struct xensave_unpack_ring *ring;

    if (threads < 2)
        return NULL;
    ring = calloc(1, sizeof(*ring) + count * sizeof(ring->job[0]));
    if (!ring)
        return NULL;
    ring->count = count;
    pthread_mutex_init(&ring->lock, NULL);
    pthread_cond_init(&ring->work, NULL);
    pthread_cond_init(&ring->done, NULL);
    if (!make_jobs(ring)) {
        while (ring->threads < threads) {
            ring->worker[ring->threads].ring = ring;
            if (thread_start(&ring->worker[ring->threads].thread, run,
                             &ring->worker[ring->threads]))
                break;
            ring->threads++;
        }
    }
    if (ring->threads)
        return ring;
    xensave_unpack_ring_free(ring);
    return NULL;
}

void xensave_unpack_ring_free(struct xensave_unpack_ring *ring)
{
    if (!ring)
        return;
    pthread_mutex_lock(&ring->lock);
    ring->stopping = true;
    pthread_cond_broadcast(&ring->work);
    pthread_mutex_unlock(&ring->lock);
    for (uint32_t i = 0; i < ring->threads; i++) {
        pthread_join(ring->worker[i].thread, NULL);
        xensave_unpacker_free(&ring->worker[i].unpacker);
    }
    for (uint32_t i = 0; i < ring->count; i++) {
        free(ring->job[i].stored);
        free(ring->job[i].pages);
    }
    pthread_cond_destroy(&ring->work);
    pthread_cond_destroy(&ring->done);
    pthread_mutex_destroy(&ring->lock);
    free(ring);
}
