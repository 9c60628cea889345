/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rate that bars and LEFT are made of, on a clock that the test sets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

#include "operation/xenstore.h"

#define MIB (1ULL << 20)

static double now;

int __wrap_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
    (void)clock;
    time->tv_sec = (time_t)now;
    time->tv_nsec = (long)((now - (double)time->tv_sec) * 1e9);
    return 0;
}

static double sample_at(struct rate *rate, double at, uint64_t done)
{
    now = at;
    return rate_sample(rate, done);
}

/* The head of a stream, then nothing, then the memory at 100 MiB/s. */
static void test_the_wait_before_the_memory(void **state)
{
    struct rate rate;
    double left;

    (void)state;
    now = 1000;
    rate_begin(&rate);
    assert_true(sample_at(&rate, 1000.5, 0) == 0);
    assert_true(sample_at(&rate, 1001.0, 600) == 0);
    assert_true(sample_at(&rate, 1001.5, 600) == 0);
    left = 1000.0 * MIB / sample_at(&rate, 1002.0, 600 + 50 * MIB);
    assert_true(left > 9.9 && left < 10.1);
}

static void test_it_follows_slowly(void **state)
{
    struct rate rate;
    double one, other;

    (void)state;
    now = 0;
    rate_begin(&rate);
    sample_at(&rate, 1, 1);
    one = sample_at(&rate, 2, 100 * MIB);
    other = sample_at(&rate, 3, 100 * MIB);
    assert_true(one > 99 * (double)MIB && one < 101 * (double)MIB);
    assert_true(other > one * 0.69 && other < one * 0.71);
    /* Too soon to tell. */
    assert_true(sample_at(&rate, 3.1, 200 * MIB) == other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_wait_before_the_memory),
        cmocka_unit_test(test_it_follows_slowly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
