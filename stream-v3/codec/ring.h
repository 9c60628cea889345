/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs that are handed in in their order, done in threads, and taken in their
 * order.  There are `count` of them, which the owner keeps in places 0 to
 * count - 1.  All functions but the owner's `run` are for one thread.
 */
#ifndef XENSAVE_RING_H
#define XENSAVE_RING_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define XENSAVE_RING_THREADS 4U
#define XENSAVE_RING_JOBS    8U
#define XENSAVE_RING_NONE    UINT32_MAX

/* Does the job at `place`, as the worker of that number. */
typedef void xensave_ring_run(void *context, uint32_t worker, uint32_t place);

struct xensave_ring {
    xensave_ring_run *run;
    void *context;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    /* Numbers of jobs; number n lives at place n % count. */
    uint64_t released, started, submitted;
    bool stopping;
    bool finished[XENSAVE_RING_JOBS]; /* by place */
    uint32_t count, threads;
    struct xensave_ring_worker {
        struct xensave_ring *ring;
        pthread_t thread;
    } worker[XENSAVE_RING_THREADS];
};

void xensave_ring_init(struct xensave_ring *ring, uint32_t count,
                       xensave_ring_run *run, void *context);
/* Fewer threads than wanted do as well; without any, submitting does it. */
void xensave_ring_start(struct xensave_ring *ring, uint32_t threads);
/* The place to be filled; XENSAVE_RING_NONE if one has to be taken first. */
uint32_t xensave_ring_room(const struct xensave_ring *ring);
/* What xensave_ring_room gave has been filled. */
void xensave_ring_submit(struct xensave_ring *ring);
/* The first of those submitted, finished or not; XENSAVE_RING_NONE: none. */
uint32_t xensave_ring_first(const struct xensave_ring *ring);
/*
 * Waits for the first, no longer than until then (CLOCK_MONOTONIC; NULL: as
 * long as it takes); whether it is finished.
 */
bool xensave_ring_wait(struct xensave_ring *ring,
                       const struct timespec *until);
/* The first has been taken. */
void xensave_ring_release(struct xensave_ring *ring);
/* Those that no thread has begun with are done here, by `run`. */
void xensave_ring_take_back(struct xensave_ring *ring, xensave_ring_run *run);
/* Ends the threads.  The jobs are the owner's to free. */
void xensave_ring_stop(struct xensave_ring *ring);

#endif /* XENSAVE_RING_H */
