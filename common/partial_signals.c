/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>

#include "partial.h"

static struct partial *volatile cleared;

static const int fatal[] = { SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGPIPE };
#define FATAL (sizeof(fatal) / sizeof(fatal[0]))
static bool caught[FATAL];

static void clear_away(int signum)
{
    const struct partial *partial = cleared;
    int errnum = errno;

    if (partial)
        partial_discard(partial);
    errno = errnum;
    /* The handler was reset: this ends the program. */
    raise(signum);
}

void partial_signals_begin(struct partial *partial)
{
    struct sigaction action = { .sa_handler = clear_away,
                                .sa_flags = SA_RESETHAND },
                     old;
    size_t i;

    if (partial->in_place ||
        !__sync_bool_compare_and_swap(&cleared, NULL, partial))
        return;
    for (i = 0; i < FATAL; i++) {
        caught[i] = !sigaction(fatal[i], NULL, &old) &&
                    old.sa_handler == SIG_DFL;
        if (caught[i])
            sigaction(fatal[i], &action, NULL);
    }
}

void partial_signals_end(const struct partial *partial)
{
    size_t i;

    if (cleared != partial)
        return;
    for (i = 0; i < FATAL; i++)
        if (caught[i])
            signal(fatal[i], SIG_DFL);
    cleared = NULL;
}
