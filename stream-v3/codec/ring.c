/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/clock.h"
#include "common/thread.h"
#include "ring.h"

static uint32_t place_of(const struct xensave_ring *ring, uint64_t number)
{
    return number % ring->count;
}

static void *work(void *argument)
{
    struct xensave_ring_worker *worker = argument;
    struct xensave_ring *ring = worker->ring;
    uint32_t place;

    pthread_mutex_lock(&ring->lock);
    for (;;) {
        while (ring->started == ring->submitted && !ring->stopping)
            pthread_cond_wait(&ring->work, &ring->lock);
        if (ring->stopping)
            break;
        place = place_of(ring, ring->started++);
        pthread_mutex_unlock(&ring->lock);
        ring->run(ring->context, worker - ring->worker, place);
        pthread_mutex_lock(&ring->lock);
        ring->finished[place] = true;
        pthread_cond_signal(&ring->done);
    }
    pthread_mutex_unlock(&ring->lock);
    return NULL;
}

/* ---- jobs --------------------------------------------------------------- */

uint32_t xensave_ring_room(const struct xensave_ring *ring)
{
    return ring->submitted - ring->released == ring->count
               ? XENSAVE_RING_NONE
               : place_of(ring, ring->submitted);
}

void xensave_ring_submit(struct xensave_ring *ring)
{
    uint32_t place = place_of(ring, ring->submitted);

    ring->finished[place] = !ring->threads;
    if (!ring->threads)
        ring->run(ring->context, 0, place);
    pthread_mutex_lock(&ring->lock);
    ring->submitted++;
    pthread_cond_signal(&ring->work);
    pthread_mutex_unlock(&ring->lock);
}

uint32_t xensave_ring_first(const struct xensave_ring *ring)
{
    return ring->released == ring->submitted ? XENSAVE_RING_NONE
                                             : place_of(ring, ring->released);
}

bool xensave_ring_wait(struct xensave_ring *ring, const struct timespec *until)
{
    const bool *finished = &ring->finished[place_of(ring, ring->released)];
    bool over;
    int r = 0;

    pthread_mutex_lock(&ring->lock);
    while (!*finished && !r)
        r = until ? pthread_cond_timedwait(&ring->done, &ring->lock, until)
                  : pthread_cond_wait(&ring->done, &ring->lock);
    over = *finished;
    pthread_mutex_unlock(&ring->lock);
    return over;
}

void xensave_ring_release(struct xensave_ring *ring)
{
    ring->released++;
}

void xensave_ring_take_back(struct xensave_ring *ring, xensave_ring_run *run)
{
    uint64_t number, end;

    pthread_mutex_lock(&ring->lock);
    number = ring->started;
    end = ring->started = ring->submitted;
    pthread_mutex_unlock(&ring->lock);
    for (; number < end; number++) {
        run(ring->context, 0, place_of(ring, number));
        /* No thread looks at it any more. */
        ring->finished[place_of(ring, number)] = true;
    }
}

/* ---- life --------------------------------------------------------------- */

void xensave_ring_init(struct xensave_ring *ring, uint32_t count,
                       xensave_ring_run *run, void *context)
{
    *ring = (struct xensave_ring){
        .run = run,
        .context = context,
        .count = count,
    };
    pthread_mutex_init(&ring->lock, NULL);
    pthread_cond_init(&ring->work, NULL);
    monotonic_cond_init(&ring->done);
}

void xensave_ring_start(struct xensave_ring *ring, uint32_t threads)
{
    struct xensave_ring_worker *worker;

    for (; ring->threads < threads; ring->threads++) {
        worker = &ring->worker[ring->threads];
        worker->ring = ring;
        if (thread_start(&worker->thread, work, worker))
            break;
    }
}

void xensave_ring_stop(struct xensave_ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    ring->stopping = true;
    pthread_cond_broadcast(&ring->work);
    pthread_mutex_unlock(&ring->lock);
    for (uint32_t i = 0; i < ring->threads; i++)
        pthread_join(ring->worker[i].thread, NULL);
    pthread_cond_destroy(&ring->work);
    pthread_cond_destroy(&ring->done);
    pthread_mutex_destroy(&ring->lock);
}
