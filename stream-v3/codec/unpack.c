/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Batches that are opened in the threads of a ring. */
#include <unistd.h>

#include "ring.h"
#include "unpack.h"

/* One that is being read, and one that the caller takes from. */
#define SPARE 2U

struct xensave_unpack_ring {
    struct xensave_ring ring;
    struct xensave_unpacker unpacker[XENSAVE_RING_THREADS];
    uint32_t count;
    struct xensave_unpack_job job[];
};

static void run(void *context, uint32_t worker, uint32_t place)
{
    struct xensave_unpack_ring *ring = context;
    struct xensave_unpack_job *job = &ring->job[place];

    job->result = xensave_batch_open(&ring->unpacker[worker], &job->head,
                                     &job->shape, job->stored, job->pages,
                                     &job->frame);
}

static struct xensave_unpack_job *job_at(struct xensave_unpack_ring *ring,
                                         uint32_t place)
{
    return place == XENSAVE_RING_NONE ? NULL : &ring->job[place];
}

struct xensave_unpack_job *xensave_unpack_ring_job(
    struct xensave_unpack_ring *ring)
{
    return job_at(ring, xensave_ring_room(&ring->ring));
}

void xensave_unpack_ring_submit(struct xensave_unpack_ring *ring)
{
    xensave_ring_submit(&ring->ring);
}

struct xensave_unpack_job *xensave_unpack_ring_first(
    struct xensave_unpack_ring *ring)
{
    return job_at(ring, xensave_ring_first(&ring->ring));
}

void xensave_unpack_ring_wait(struct xensave_unpack_ring *ring)
{
    xensave_ring_wait(&ring->ring, NULL);
}

void xensave_unpack_ring_release(struct xensave_unpack_ring *ring)
{
    xensave_ring_release(&ring->ring);
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
    uint32_t threads = cpus < 1 ? 1 : min_u64(cpus, XENSAVE_RING_THREADS);
    uint32_t count = threads + SPARE;
    struct xensave_unpack_ring *ring;

    if (threads < 2)
        return NULL;
    ring = calloc(1, sizeof(*ring) + count * sizeof(ring->job[0]));
    if (!ring)
        return NULL;
    ring->count = count;
    xensave_ring_init(&ring->ring, count, run, ring);
    if (!make_jobs(ring))
        xensave_ring_start(&ring->ring, threads);
    if (ring->ring.threads)
        return ring;
    xensave_unpack_ring_free(ring);
    return NULL;
}

void xensave_unpack_ring_free(struct xensave_unpack_ring *ring)
{
    if (!ring)
        return;
    xensave_ring_stop(&ring->ring);
    for (uint32_t i = 0; i < XENSAVE_RING_THREADS; i++)
        xensave_unpacker_free(&ring->unpacker[i]);
    for (uint32_t i = 0; i < ring->count; i++) {
        free(ring->job[i].stored);
        free(ring->job[i].pages);
    }
    free(ring);
}
