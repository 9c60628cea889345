/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The streams that are under way in this process, by fd, so that the child
 * that becomes the helper of one finds what to hand on.  Written under a lock;
 * read, in forked children, without one: a child sees a snapshot in which the
 * entry of its own stream is complete, since the thread that forked wrote it
 * before.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "internal.h"

#define PLANS 64

enum { FREE, READY };

static struct plan {
    atomic_int state;
    bool restore;
    bool lasting;
    int fd;
    struct stat st;
    uint64_t age;
    char text[PLAN_TEXT_MAX];
} plans[PLANS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t published;

static void withdraw_locked(int fd)
{
    size_t i;

    for (i = 0; i < PLANS; i++) {
        if (plans[i].fd == fd)
            atomic_store(&plans[i].state, FREE);
    }
}

/* A lasting plan has no end of its own: the oldest makes room. */
static struct plan *find_room(void)
{
    struct plan *oldest = NULL;
    size_t i;

    for (i = 0; i < PLANS; i++) {
        if (atomic_load(&plans[i].state) == FREE)
            return &plans[i];
        if (plans[i].lasting && (!oldest || plans[i].age < oldest->age))
            oldest = &plans[i];
    }
    return oldest;
}

int plan_publish(int fd, const struct plan_stream *stream)
{
    struct plan *plan = NULL;
    struct stat st;
    int r = -1;

    if (fstat(fd, &st))
        return -1;

    pthread_mutex_lock(&lock);
    withdraw_locked(fd);
    plan = find_room();
    if (!plan)
        goto out;
    atomic_store(&plan->state, FREE);
    plan->restore = stream->restore;
    plan->lasting = stream->lasting;
    plan->fd = fd;
    plan->st = st;
    plan->age = published++;
    /* The space is reserved on this side: reserve=0. */
    r = snprintf(plan->text, sizeof(plan->text),
                 "mode=%s;format=%s;io=%s;engine=%s;reserve=0;"
                 "head_padding=%u",
                 stream->restore ? "restore" : "save",
                 xensave_format_name(stream->format),
                 xensave_io_name(stream->io),
                 xensave_engine_name(stream->engine), stream->head_padding);
    if (r > 0 && r < (int)sizeof(plan->text) &&
        stream->format == XENSAVE_FORMAT_V3 && stream->compression.codec)
        r += snprintf(plan->text + r, sizeof(plan->text) - r,
                      ";compress=%s:%d%s",
                      xensave_codec_name(stream->compression.codec),
                      stream->compression.level,
                      stream->compression.all ? ":all" : "");
    r = r > 0 && r < (int)sizeof(plan->text) ? 0 : -1;
    if (!r)
        atomic_store(&plan->state, READY);

out:
    pthread_mutex_unlock(&lock);
    return r;
}

void plan_withdraw(int fd)
{
    pthread_mutex_lock(&lock);
    withdraw_locked(fd);
    pthread_mutex_unlock(&lock);
}

const char *plan_find(int fd, bool restore)
{
    const struct plan *found = NULL;
    struct stat st;
    size_t i;

    if (fstat(fd, &st))
        return NULL;
    for (i = 0; i < PLANS; i++) {
        const struct plan *plan = &plans[i];

        /* libxl hands the helper a duplicate of fds 0 to 2. */
        if (atomic_load(&plan->state) != READY || plan->restore != restore ||
            !stat_same(&plan->st, &st))
            continue;
        if (plan->fd == fd)
            return plan->text;
        if (plan->fd <= 2)
            found = plan;
    }
    return found ? found->text : NULL;
}
