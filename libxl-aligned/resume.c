/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A save that fails after the suspension leaves the domain suspended.  xl
 * resumes it.  libvirt takes it to be running and does nothing; only where it
 * migrates does it resume.
 */
#include <pthread.h>
#include <stdlib.h>

#include "save.h"

/* ---- the shutdown that libvirt waits for -------------------------------- */

/*
 * libxl reports the shutdown of a domain once for each request, and the
 * suspension of a failed save counts: libvirt would not learn that the guest
 * powered off, rebooted or crashed later.  libvirt therefore gets a request of
 * this library, which holds libxl's and renews it.
 */
typedef int enable_fn(libxl_ctx *, uint32_t, libxl_ev_user,
                      libxl_evgen_domain_death **);
typedef void disable_fn(libxl_ctx *, libxl_evgen_domain_death *);

struct death {
    libxl_ctx *ctx;
    uint32_t domid;
    libxl_ev_user user;
    libxl_evgen_domain_death *real;
    struct death *next;
};

static struct death *deaths;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

EXPORT int libxl_evenable_domain_death(libxl_ctx *ctx, uint32_t domid,
                                       libxl_ev_user user,
                                       libxl_evgen_domain_death **evgen_out)
{
    enable_fn *enable = (enable_fn *)real_symbol(__func__);
    struct death *death;
    int rc;

    if (!enable)
        return ERROR_NI;
    if (!libxl_came_late)
        return enable(ctx, domid, user, evgen_out);
    death = malloc(sizeof(*death));
    if (!death)
        return ERROR_NOMEM;
    *death = (struct death){ .ctx = ctx, .domid = domid, .user = user };
    rc = enable(ctx, domid, user, &death->real);
    if (rc) {
        free(death);
        return rc;
    }
    pthread_mutex_lock(&lock);
    death->next = deaths;
    deaths = death;
    pthread_mutex_unlock(&lock);
    *evgen_out = (libxl_evgen_domain_death *)death;
    return 0;
}

EXPORT void libxl_evdisable_domain_death(libxl_ctx *ctx,
                                         libxl_evgen_domain_death *evgen)
{
    disable_fn *disable = (disable_fn *)real_symbol(__func__);
    struct death **link, *death;

    pthread_mutex_lock(&lock);
    for (link = &deaths; *link && (void *)*link != (void *)evgen;
         link = &(*link)->next)
        ;
    death = *link;
    if (death)
        *link = death->next;
    pthread_mutex_unlock(&lock);
    if (disable)
        disable(ctx, death ? death->real : evgen);
    free(death);
}

/* After a suspension that was undone. */
static void renew_death_events(libxl_ctx *ctx, uint32_t domid)
{
    enable_fn *enable = (enable_fn *)real_symbol(
        "libxl_evenable_domain_death");
    disable_fn *disable = (disable_fn *)real_symbol(
        "libxl_evdisable_domain_death");
    libxl_evgen_domain_death *renewed;
    struct death *death;

    if (!enable || !disable)
        return;
    pthread_mutex_lock(&lock);
    for (death = deaths; death; death = death->next) {
        if (death->ctx != ctx || death->domid != domid ||
            enable(ctx, domid, death->user, &renewed))
            continue;
        disable(ctx, death->real);
        death->real = renewed;
    }
    pthread_mutex_unlock(&lock);
}

/* ---- resuming ----------------------------------------------------------- */

static bool is_suspended(const struct real *real, libxl_ctx *ctx,
                         uint32_t domid)
{
    struct dominfo info;

    return !dominfo_read(real, ctx, domid, &info) && info.suspended;
}

bool resume_is_ours(const struct real *real, libxl_ctx *ctx, uint32_t domid)
{
    return libxl_came_late && real->resume && !is_suspended(real, ctx, domid);
}

void resume_domain(const struct real *real, libxl_ctx *ctx, uint32_t domid,
                   xentoollog_logger *lg)
{
    int rc;

    if (!is_suspended(real, ctx, domid))
        return;
    /* As xl: the guest learns that its suspension was cancelled. */
    rc = real->resume(ctx, domid, 1, NULL);
    renew_death_events(ctx, domid);
    if (rc)
        report(lg, XTL_ERROR,
               "domain %u stays suspended: "
               "libxl_domain_resume: error %d",
               domid, rc);
    else
        report(lg, XTL_WARN, "domain %u was suspended and runs again", domid);
}
