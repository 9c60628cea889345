/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The monitor of a domain, which is an xl that waits for its end, exits up to
 * Xen 4.19 when the domain suspends: after a checkpoint, or a save that
 * failed, nobody handles the guest's next reboot or crash.  Here it does not
 * hear of a suspension, and goes on waiting.
 *
 * libxl reports one shutdown for each request.  A second request, whose events
 * are told by their user, reports the next.  The first stays, and with it
 * libxl's watch: one that is registered anew fires at once.
 */
#include <pthread.h>
#include <stdlib.h>

#include "report.h"
#include "runtime.h"

#define LAST_MINOR 19 /* whose xl exits */

struct again {
    libxl_ev_user user; /* of the monitor's own request */
    libxl_evgen_domain_death *request;
    struct again *next;
};

static struct again *agains;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct events {
    int (*wait)(libxl_ctx *, libxl_event **, uint64_t, libxl_event_predicate *,
                void *);
    int (*enable)(libxl_ctx *, uint32_t, libxl_ev_user,
                  libxl_evgen_domain_death **);
    void (*disable)(libxl_ctx *, libxl_evgen_domain_death *);
    void (*free)(libxl_ctx *, libxl_event *);
} events;

static bool find(void)
{
    if (!events.wait) {
        events.enable = real_symbol("libxl_evenable_domain_death");
        events.disable = real_symbol("libxl_evdisable_domain_death");
        events.free = real_symbol("libxl_event_free");
        events.wait = real_symbol("libxl_event_wait");
    }
    return events.wait;
}

static struct again *again_of(libxl_ev_user user)
{
    struct again *again;

    for (again = agains; again && user != (uintptr_t)again;
         again = again->next)
        ;
    return again;
}

static void forget(libxl_ctx *ctx, struct again *again)
{
    struct again **link;

    for (link = &agains; *link != again; link = &(*link)->next)
        ;
    *link = again->next;
    events.disable(ctx, again->request);
    free(again);
}

/* False: the toolstack has to hear of it, since nobody else will. */
static bool ask_again(libxl_ctx *ctx, uint32_t domid, libxl_ev_user user)
{
    struct again *again = calloc(1, sizeof(*again));

    if (!again)
        return false;
    again->user = user;
    if (events.enable(ctx, domid, (uintptr_t)again, &again->request)) {
        free(again);
        return false;
    }
    again->next = agains;
    agains = again;
    report(NULL, XTL_INFO,
           "domain %u is suspended: its monitor waits for "
           "what comes after",
           domid);
    return true;
}

/* Whether it is only ours to know. */
static bool is_ours(libxl_ctx *ctx, libxl_event *event)
{
    struct again *again = again_of(event->for_user);
    bool ours = false;

    if (event->type == LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN) {
        if (again)
            event->for_user = again->user;
        ours = event->u.domain_shutdown.shutdown_reason ==
                   LIBXL_SHUTDOWN_REASON_SUSPEND &&
               ask_again(ctx, event->domid, event->for_user);
    } else if (event->type == LIBXL_EVENT_TYPE_DOMAIN_DEATH) {
        /* The first request reports it, too. */
        ours = again;
    } else {
        return false;
    }
    if (again)
        forget(ctx, again);
    return ours;
}

EXPORT int libxl_event_wait(libxl_ctx *ctx, libxl_event **event,
                            uint64_t typemask,
                            libxl_event_predicate *predicate, void *user)
{
    int minor = runtime_get()->real.minor, rc;
    bool ours;

    if (!find())
        return ERROR_NI;
    for (;;) {
        rc = events.wait(ctx, event, typemask, predicate, user);
        /* Whoever chooses among events is no monitor. */
        if (rc || predicate || minor < 0 || minor > LAST_MINOR ||
            !events.enable || !events.disable || !events.free)
            return rc;
        pthread_mutex_lock(&lock);
        ours = is_ours(ctx, *event);
        pthread_mutex_unlock(&lock);
        if (!ours)
            return 0;
        events.free(ctx, *event);
    }
}
