/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef COMMON_THREAD_H
#define COMMON_THREAD_H

#include <pthread.h>
#include <signal.h>

/*
 * pthread_create with every signal blocked in the new thread: signals are
 * handled by the program's own threads.
 */
static inline int thread_start(pthread_t *thread, void *(*run)(void *),
                               void *argument)
{
    sigset_t all, before;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(thread, NULL, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

#endif /* COMMON_THREAD_H */
