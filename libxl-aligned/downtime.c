/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When the domain that migrates was suspended, told to the command that
 * started this toolstack (docs/spec/negotiation.md, section 7): how long the
 * guest stands still is the one figure that only this side sees begin.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/thread.h"
#include "save.h"

#define INTERVAL_NS 5000000

struct downtime {
    const struct real *real;
    libxl_ctx *ctx;
    uint32_t domid;
    atomic_bool over;
    pthread_t thread;
};

static void tell(void)
{
    int fd = open(environment.negotiated, O_WRONLY | O_CLOEXEC);
    struct timespec now;
    char text[64];
    ssize_t r;
    int length;

    if (fd < 0)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    length = snprintf(text, sizeof(text), "suspended=%" PRId64 "\n",
                      now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000);
    r = pwrite(fd, text, length + 1,
               offsetof(struct handoff_board, suspended));
    (void)r; /* it is only a figure */
    close(fd);
}

static void *wait_for_suspension(void *context)
{
    const struct timespec interval = { 0, INTERVAL_NS };
    struct downtime *downtime = context;
    struct dominfo info;

    while (!atomic_load(&downtime->over)) {
        if (!dominfo_read(downtime->real, downtime->ctx, downtime->domid,
                          &info) &&
            info.suspended) {
            tell();
            break;
        }
        nanosleep(&interval, NULL);
    }
    return NULL;
}

struct downtime *downtime_begin(const struct real *real, libxl_ctx *ctx,
                                uint32_t domid)
{
    struct downtime *downtime;

    if (!environment.negotiated)
        return NULL;
    downtime = calloc(1, sizeof(*downtime));
    if (!downtime)
        return NULL;
    downtime->real = real;
    downtime->ctx = ctx;
    downtime->domid = domid;
    if (thread_start(&downtime->thread, wait_for_suspension, downtime)) {
        free(downtime);
        return NULL;
    }
    return downtime;
}

void downtime_end(struct downtime *downtime)
{
    if (!downtime)
        return;
    atomic_store(&downtime->over, true);
    pthread_join(downtime->thread, NULL);
    free(downtime);
}
