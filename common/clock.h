/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The monotonic clock. */
#ifndef XENSAVE_CLOCK_H
#define XENSAVE_CLOCK_H

#include <pthread.h>
#include <time.h>

static inline double monotonic_seconds(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

/* For pthread_cond_timedwait on a condition of monotonic_cond_init. */
static inline struct timespec monotonic_after(long ns)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_nsec += ns;
    time.tv_sec += time.tv_nsec / 1000000000;
    time.tv_nsec %= 1000000000;
    return time;
}

static inline void monotonic_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t monotonic;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

#endif /* XENSAVE_CLOCK_H */
