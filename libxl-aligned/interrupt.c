/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stock xl dies of Ctrl-C in the middle of a save and leaves the guest
 * suspended.  Here the signal goes to every helper as SIGTERM, which libxc
 * takes as the order to give up and to put the guest back in shape; the error
 * comes up through libxl, and xl resumes the guest.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
#define SIGNALS (sizeof(signals) / sizeof(signals[0]))

#define HELPERS 64

/* Shared with the children that become helpers. */
static struct shared {
    struct xensave_helper helpers[HELPERS];
    atomic_bool interrupted;
} * shared;

static bool installed[SIGNALS];
static int saves;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void handler(int signum)
{
    struct process process;
    int errnum = errno, i;

    (void)signum;
    /* In this order: the child does the reverse, so one of us notices. */
    atomic_store(&shared->interrupted, true);
    for (i = 0; i < HELPERS; i++) {
        xensave_helper_get(&shared->helpers[i], &process);
        if (process.pid > 0)
            process_signal(&process, SIGTERM);
    }
    errno = errnum;
}

/* Only where the program leaves the signal alone. */
static bool install(int signum)
{
    struct sigaction action = { .sa_handler = handler };
    struct sigaction old;

    if (sigaction(signum, NULL, &old) || old.sa_handler != SIG_DFL)
        return false;
    return !sigaction(signum, &action, NULL);
}

void interrupt_begin(void)
{
    void *page;
    size_t i;

    pthread_mutex_lock(&lock);
    if (saves++)
        goto out;
    if (!shared) {
        page = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED)
            goto out;
        shared = page;
    }
    memset(shared, 0, sizeof(*shared));
    for (i = 0; i < SIGNALS; i++)
        installed[i] = install(signals[i]);
out:
    pthread_mutex_unlock(&lock);
}

bool interrupt_pending(void)
{
    return shared && atomic_load(&shared->interrupted);
}

void interrupt_end(void)
{
    size_t i;

    pthread_mutex_lock(&lock);
    if (--saves)
        goto out;
    for (i = 0; i < SIGNALS; i++) {
        /*
         * After an interruption the program has a guest to resume: a second
         * Ctrl-C must not stop it from that.
         */
        if (installed[i] && !interrupt_pending())
            signal(signals[i], SIG_DFL);
        installed[i] = false;
    }
out:
    pthread_mutex_unlock(&lock);
}

/* Takes a place that nobody has, or has any more. */
static void enter(void)
{
    struct process process;
    struct xensave_helper *helper;
    int32_t pid;
    int i;

    for (i = 0; i < HELPERS; i++) {
        helper = &shared->helpers[i];
        xensave_helper_get(helper, &process);
        pid = process.pid;
        if (pid >= 0 && (!pid || !process_lives(&process)) &&
            atomic_compare_exchange_strong(&helper->pid, &pid, -1)) {
            xensave_helper_enter(helper);
            return;
        }
    }
}

void interrupt_child(void)
{
    size_t i;

    if (!shared || !saves)
        return;
    for (i = 0; i < SIGNALS; i++) {
        /* Ctrl-C reaches the helper too; it is to wait for the SIGTERM. */
        if (installed[i])
            signal(signals[i], signals[i] == SIGTERM ? SIG_DFL : SIG_IGN);
    }
    enter();
    if (interrupt_pending())
        _exit(1);
}
