/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pwrite and pread in threads, where io_uring is disabled. */
#include <unistd.h>

#include "common/thread.h"
#include "engine.h"

#define THREADS 4

struct job {
    struct xensave_transfer transfer;
    int result;
};

struct queue {
    struct job *jobs; /* a ring of `capacity` */
    uint32_t head, count;
};

struct thread_engine {
    struct xensave_io_engine engine;
    int fd;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    uint32_t capacity;
    struct queue waiting, completed;
    bool stopping;
    unsigned threads;
    pthread_t thread[THREADS];
};

static void queue_put(struct thread_engine *threads, struct queue *queue,
                      const struct job *job)
{
    queue->jobs[(queue->head + queue->count++) % threads->capacity] = *job;
}

static struct job queue_take(struct thread_engine *threads,
                             struct queue *queue)
{
    struct job job = queue->jobs[queue->head];

    queue->head = (queue->head + 1) % threads->capacity;
    queue->count--;
    return job;
}

static int transfer_now(int fd, const struct xensave_transfer *transfer)
{
    ssize_t r;

    do {
        r = transfer->write ? pwrite(fd, transfer->data, transfer->length,
                                     transfer->offset)
                            : pread(fd, transfer->data, transfer->length,
                                    transfer->offset);
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r;
}

static void *worker(void *argument)
{
    struct thread_engine *threads = argument;
    struct job job;

    pthread_mutex_lock(&threads->lock);
    for (;;) {
        while (!threads->waiting.count && !threads->stopping)
            pthread_cond_wait(&threads->work, &threads->lock);
        if (!threads->waiting.count)
            break;
        job = queue_take(threads, &threads->waiting);
        pthread_mutex_unlock(&threads->lock);
        job.result = transfer_now(threads->fd, &job.transfer);
        pthread_mutex_lock(&threads->lock);
        queue_put(threads, &threads->completed, &job);
        pthread_cond_signal(&threads->done);
    }
    pthread_mutex_unlock(&threads->lock);
    return NULL;
}

static int thread_submit(struct xensave_io_engine *engine,
                         const struct xensave_transfer *transfer)
{
    struct thread_engine *threads = (struct thread_engine *)engine;
    struct job job = { .transfer = *transfer };

    pthread_mutex_lock(&threads->lock);
    queue_put(threads, &threads->waiting, &job);
    pthread_cond_signal(&threads->work);
    pthread_mutex_unlock(&threads->lock);
    engine->busy++;
    return 0;
}

static bool thread_reap(struct xensave_io_engine *engine, bool block,
                        uint32_t *buffer, int *result)
{
    struct thread_engine *threads = (struct thread_engine *)engine;
    struct job job = { .result = 0 };
    bool found;

    pthread_mutex_lock(&threads->lock);
    while (block && !threads->completed.count)
        pthread_cond_wait(&threads->done, &threads->lock);
    found = threads->completed.count;
    if (found)
        job = queue_take(threads, &threads->completed);
    pthread_mutex_unlock(&threads->lock);
    if (found) {
        *buffer = job.transfer.buffer;
        *result = job.result;
        engine->busy--;
    }
    return found;
}

static void thread_free(struct xensave_io_engine *engine)
{
    struct thread_engine *threads = (struct thread_engine *)engine;

    pthread_mutex_lock(&threads->lock);
    threads->stopping = true;
    pthread_cond_broadcast(&threads->work);
    pthread_mutex_unlock(&threads->lock);
    for (unsigned i = 0; i < threads->threads; i++)
        pthread_join(threads->thread[i], NULL);
    pthread_cond_destroy(&threads->work);
    pthread_cond_destroy(&threads->done);
    pthread_mutex_destroy(&threads->lock);
    free(threads->waiting.jobs);
    free(threads->completed.jobs);
    free(threads);
}

static const struct xensave_io_engine_ops thread_ops = {
    .submit = thread_submit,
    .reap = thread_reap,
    .free = thread_free,
};

static void start_threads(struct thread_engine *threads)
{
    while (threads->threads < THREADS &&
           !thread_start(&threads->thread[threads->threads], worker, threads))
        threads->threads++;
}

struct xensave_io_engine *xensave_io_engine_thread(
    int fd, const struct xensave_buffers *buffers)
{
    struct thread_engine *threads;

    threads = calloc(1, sizeof(*threads));
    if (!threads)
        return NULL;
    threads->engine.ops = &thread_ops;
    threads->fd = fd;
    threads->capacity = buffers->count;
    pthread_mutex_init(&threads->lock, NULL);
    pthread_cond_init(&threads->work, NULL);
    pthread_cond_init(&threads->done, NULL);
    threads->waiting.jobs = calloc(buffers->count, sizeof(struct job));
    threads->completed.jobs = calloc(buffers->count, sizeof(struct job));
    if (threads->waiting.jobs && threads->completed.jobs)
        start_threads(threads);
    if (!threads->threads) {
        thread_free(&threads->engine);
        errno = EAGAIN;
        return NULL;
    }
    return &threads->engine;
}
