/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moves bytes both ways between two links: with splice if neither side
 * encrypts, else through a buffer.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "carrier.h"

#define BUFFER_SIZE (256 << 10)
#define SPLICE_MAX  (1 << 20)
/* negotiation.md, section 6 */
#define FIRST_S 30 /* until the first byte */
#define LAST_S  10 /* for xl's last output */

enum step {
    MOVED,
    BLOCKED, /* waiting for `events` on `fd` */
    ENDED,
};

struct flow {
    struct link *from, *to;
    bool splice;
    bool finishing; /* everything was read and written */
    bool ended, failed;
    bool deserted; /* its reader is gone */
    bool overdue;  /* the peer has stalled for too long */
    uint64_t *spliced;
    uint64_t *count;
    int64_t *last;
    uint8_t *buffer;
    size_t begin, end; /* the part of the buffer to be written */
    int fd;
    short events;
};

static enum step blocked(struct flow *flow, int fd, short events)
{
    flow->fd = fd;
    flow->events = events;
    return BLOCKED;
}

/* Neither side must wait for data in this direction. */
static enum step flow_abandon(struct flow *flow)
{
    flow->from->ops->stop(flow->from);
    flow->to->ops->finish(flow->to);
    return ENDED;
}

static enum step flow_fail(struct flow *flow)
{
    flow->failed = true;
    return flow_abandon(flow);
}

static enum step flow_finish(struct flow *flow)
{
    flow->finishing = true;
    if (!flow->to->ops->finish(flow->to))
        return ENDED;
    if (errno == EAGAIN)
        return blocked(flow, flow->to->out, flow->to->write_events);
    return flow_fail(flow);
}

static bool is_ready(int fd, short events)
{
    struct pollfd poll_fd = { .fd = fd, .events = events };

    return poll(&poll_fd, 1, 0) > 0;
}

static void flow_count(struct flow *flow, size_t length)
{
    __atomic_fetch_add(flow->count, length, __ATOMIC_RELAXED);
    if (flow->last)
        *flow->last = now_ms();
}

static enum step flow_splice(struct flow *flow)
{
    int from = flow->from->in, to = flow->to->out;
    ssize_t r = splice(from, NULL, to, NULL, SPLICE_MAX,
                       SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    int errnum = errno, pending = 0;

    if (r > 0) {
        flow_count(flow, r);
        if (flow->spliced)
            *flow->spliced = 1;
        return MOVED;
    }
    if (!r)
        return flow_finish(flow);
    if (errno == EINTR)
        return MOVED;
    if (errno == EINVAL) {
        /* Neither is a pipe, or splice is not supported. */
        flow->splice = false;
        return MOVED;
    }
    if (errno == EAGAIN) {
        if (!is_ready(from, POLLIN))
            return blocked(flow, from, POLLIN);
        return blocked(flow, to, POLLOUT);
    }
    /* The reader is gone; is anything left to be read? */
    if (errno == EPIPE && !ioctl(from, FIONREAD, &pending) && !pending)
        return flow_abandon(flow);
    /* errno does not say which side it was. */
    errno = errnum;
    link_fail(flow->to, errno, "%s", strerror(errno));
    return flow_fail(flow);
}

static enum step flow_write(struct flow *flow)
{
    ssize_t r = flow->to->ops->write(flow->to, flow->buffer + flow->begin,
                                     flow->end - flow->begin);

    if (r < 0 && errno == EAGAIN)
        return blocked(flow, flow->to->out, flow->to->write_events);
    if (r < 0)
        return flow_fail(flow);
    flow->begin += r;
    flow_count(flow, r);
    return MOVED;
}

static enum step flow_step(struct flow *flow)
{
    ssize_t r;

    if (flow->overdue)
        return flow_fail(flow);
    if (flow->deserted)
        return flow_abandon(flow);
    if (flow->finishing)
        return flow_finish(flow);
    if (flow->begin < flow->end)
        return flow_write(flow);
    if (flow->splice)
        return flow_splice(flow);
    r = flow->from->ops->read(flow->from, flow->buffer, BUFFER_SIZE);
    if (r < 0 && errno == EAGAIN)
        return blocked(flow, flow->from->in, flow->from->read_events);
    if (r < 0)
        return flow_fail(flow);
    if (!r)
        return flow_finish(flow);
    flow->begin = 0;
    flow->end = r;
    return MOVED;
}

static void flow_init(struct flow *flow, struct link *from, struct link *to,
                      uint8_t *buffer, uint64_t *count)
{
    memset(flow, 0, sizeof(*flow));
    flow->from = from;
    flow->to = to;
    flow->splice = from->splice_in && to->splice_out;
    flow->count = count;
    flow->buffer = buffer;
    /* Fewer, larger steps; not essential, so errors are ignored. */
    fcntl(from->in, F_SETPIPE_SZ, SPLICE_MAX);
    fcntl(to->out, F_SETPIPE_SZ, SPLICE_MAX);
}

/*
 * How long the peer may stall both directions: 0, forever, while xl is the one
 * that works.
 */
static unsigned patience(const struct pump *pump, const struct flow *flows)
{
    bool waiting = false;
    int i;

    for (i = 0; i < 2; i++)
        waiting |= !flows[i].ended &&
                   (flows[i].fd == pump->b->in || flows[i].fd == pump->b->out);
    if (!pump->stall_seconds || !waiting)
        return 0;
    if (flows[1].ended)
        return LAST_S;
    return *pump->b_to_a || pump->stall_seconds < FIRST_S ? pump->stall_seconds
                                                          : FIRST_S;
}

/*
 * Waits until one of them can proceed, or xl has gone, which a write may not
 * show.
 */
static void flows_wait(const struct pump *pump, struct flow *flows,
                       int64_t since)
{
    unsigned seconds = patience(pump, flows);
    struct pollfd fds[3] = {
        [2] = { .fd = flows[1].ended || pump->a->in == pump->a->out
                          ? -1
                          : pump->a->out },
    };
    int i;

    for (i = 0; i < 2; i++) {
        fds[i].fd = flows[i].ended ? -1 : flows[i].fd;
        fds[i].events = flows[i].events;
    }
    if (!wait_for_any(fds, 3, seconds ? since + seconds * 1000LL : 0)) {
        flows[1].deserted = fds[2].fd >= 0 && (fds[2].revents & POLLERR);
    } else if (errno == ETIMEDOUT) {
        link_fail(pump->b, ETIMEDOUT, "no byte for %u s", seconds);
        for (i = 0; i < 2; i++)
            flows[i].overdue = true;
    }
}

static void flows_run(const struct pump *pump, struct flow *flows)
{
    int64_t since = now_ms();

    while (!flows[0].ended || !flows[1].ended) {
        bool moved = false;
        int i;

        for (i = 0; i < 2; i++) {
            struct flow *flow = &flows[i];

            if (flow->ended)
                continue;
            switch (flow_step(flow)) {
            case MOVED:
                moved = true;
                break;
            case BLOCKED:
                break;
            case ENDED:
                flow->ended = true;
                moved = true;
                break;
            }
        }
        if (moved)
            since = now_ms();
        else
            flows_wait(pump, flows, since);
    }
}

int pump_run(struct pump *pump, char *why, size_t size)
{
    uint8_t *buffers[2] = { malloc(BUFFER_SIZE), malloc(BUFFER_SIZE) };
    struct flow flows[2];
    int r = -1;

    if (!buffers[0] || !buffers[1] || pump->early_length > BUFFER_SIZE) {
        snprintf(why, size, "out of memory");
        goto out;
    }
    flow_init(&flows[0], pump->a, pump->b, buffers[0], pump->a_to_b);
    flow_init(&flows[1], pump->b, pump->a, buffers[1], pump->b_to_a);
    if (pump->early_length)
        memcpy(buffers[1], pump->early, pump->early_length);
    flows[1].end = pump->early_length;
    flows[0].last = pump->a_to_b_last;
    flows[0].spliced = pump->spliced;
    flows[1].last = pump->b_to_a_last;
    flows_run(pump, flows);
    r = flows[0].failed || flows[1].failed ? -1 : 0;
    snprintf(why, size, "%s%s%s", pump->b->error,
             pump->a->error[0] && pump->b->error[0] ? "; " : "",
             pump->a->error);
out:
    free(buffers[0]);
    free(buffers[1]);
    return r;
}
