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

#include "operation.h"

static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
#define SIGNALS (sizeof(signals) / sizeof(signals[0]))

static bool installed[SIGNALS];
static int saves;
static atomic_bool interrupted;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void handler(int signum)
{
    int errnum = errno;

    (void)signum;
    atomic_store(&interrupted, true);
    operation_cancel_interruptible();
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
    size_t i;

    pthread_mutex_lock(&lock);
    if (!saves++) {
        atomic_store(&interrupted, false);
        for (i = 0; i < SIGNALS; i++)
            installed[i] = install(signals[i]);
    }
    pthread_mutex_unlock(&lock);
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
        if (installed[i] && !atomic_load(&interrupted))
            signal(signals[i], SIG_DFL);
        installed[i] = false;
    }
out:
    pthread_mutex_unlock(&lock);
}

void interrupt_child(void)
{
    size_t i;

    for (i = 0; i < SIGNALS; i++) {
        /* Ctrl-C reaches the helper too; it is to wait for the SIGTERM. */
        if (installed[i])
            signal(signals[i], signals[i] == SIGTERM ? SIG_DFL : SIG_IGN);
    }
}
