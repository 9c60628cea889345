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
#include "internal.h"

#define INTERVAL_NS 5000000

struct watch {
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

static void *watch_domain(void *context)
{
    const struct timespec interval = { 0, INTERVAL_NS };
    struct watch *watch = context;
    struct domain_facts facts;

    while (!atomic_load(&watch->over)) {
        if (!domain_facts(watch->real, watch->ctx, watch->domid, &facts) &&
            facts.suspended) {
            tell();
            break;
        }
        nanosleep(&interval, NULL);
    }
    return NULL;
}

struct watch *watch_begin(const struct real *real, libxl_ctx *ctx,
                          uint32_t domid)
{
    struct watch *watch;

    if (!environment.negotiated)
        return NULL;
    watch = calloc(1, sizeof(*watch));
    if (!watch)
        return NULL;
    watch->real = real;
    watch->ctx = ctx;
    watch->domid = domid;
    if (thread_start(&watch->thread, watch_domain, watch)) {
        free(watch);
        return NULL;
    }
    return watch;
}

void watch_end(struct watch *watch)
{
    if (!watch)
        return;
    atomic_store(&watch->over, true);
    pthread_join(watch->thread, NULL);
    free(watch);
}
