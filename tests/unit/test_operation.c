/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Processes: one that has got the pid of an earlier one is left alone. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "operation/handoff.h"
#include "operation/xenstore.h"

static pid_t bystander(void)
{
    pid_t pid = fork();

    if (!pid) {
        pause();
        _exit(0);
    }
    assert_true(pid > 0);
    return pid;
}

static int ended(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void test_signal(void **state)
{
    pid_t pid = bystander();
    struct process process, earlier;

    (void)state;
    assert_int_equal(process_of(pid, &process), 0);
    earlier = process;
    earlier.start--;
    assert_int_equal(process_signal(&earlier, SIGKILL), -1);
    assert_int_equal(errno, ESRCH);
    /* It is there to get this one. */
    assert_int_equal(process_signal(&process, SIGTERM), 0);
    assert_int_equal(ended(pid), SIGTERM);
    assert_int_equal(process_signal(&process, SIGTERM), -1);
    assert_int_equal(errno, ESRCH);
}

static void test_nobody(void **state)
{
    static const pid_t pids[] = { 0, -1 };

    (void)state;
    /* A kill() of these would reach whole groups. */
    for (size_t i = 0; i < 2; i++) {
        struct process process = { .pid = pids[i] };

        assert_int_equal(process_signal(&process, SIGTERM), -1);
    }
}

static void test_helper(void **state)
{
    struct handoff handoff = { 0 };
    struct process process, self;

    (void)state;
    handoff_enter(&handoff);
    handoff_helper(&handoff, &process);
    assert_int_equal(process_of(getpid(), &self), 0);
    assert_int_equal(process.pid, self.pid);
    assert_int_equal(process.start, self.start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signal),
        cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_helper),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
