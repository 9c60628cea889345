/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A save that fails after the suspension leaves the domain suspended.  xl
 * resumes it.  libvirt does so only after a failed migration; otherwise it
 * assumes that the domain is running.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include <xenctrl.h>
#include <xenguest.h>

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

/* After the domain has been resumed. */
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

/* ---- a resume that libxl gets wrong -------------------------------------- */

/*
 * libxl of Xen 4.13 and 4.14 ignores suspend_cancel for PV and PVH domains
 * (Xen commit 6298f0eb8f44, fixed in 4.15 by 87a067fd8f4d).  A guest that is
 * resumed as if in a new domain, but is still in its old one, crashes.  For
 * these domains libxl_domain_resume calls xc_domain_resume in the same thread
 * before it returns; Remus and COLO call that without libxl_domain_resume.
 */
#define CANCEL_LOST_MINOR 14

static __thread const uint32_t *cancelled; /* the domain, or NULL */

static int resume(const struct real *real, libxl_ctx *ctx, uint32_t domid,
                  int suspend_cancel, const libxl_asyncop_how *ao_how)
{
    int rc;

    if (suspend_cancel && real->minor == CANCEL_LOST_MINOR)
        cancelled = &domid;
    rc = real->resume(ctx, domid, suspend_cancel, ao_how);
    cancelled = NULL;
    return rc;
}

EXPORT int libxl_domain_resume(libxl_ctx *ctx, uint32_t domid,
                               int suspend_cancel,
                               const libxl_asyncop_how *ao_how)
{
    const struct real *real = &runtime_get()->real;

    return real->resume ? resume(real, ctx, domid, suspend_cancel, ao_how)
                        : ERROR_NI;
}

EXPORT int xc_domain_resume(xc_interface *xch, uint32_t domid, int fast)
{
    int (*next)(xc_interface *, uint32_t, int) = real_symbol(__func__);

    if (!next) {
        errno = ENOSYS;
        return -1;
    }
    return next(xch, domid, fast || (cancelled && *cancelled == domid));
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
    rc = resume(real, ctx, domid, 1, NULL);
    renew_death_events(ctx, domid);
    if (rc)
        report(lg, XTL_ERROR,
               "domain %u stays suspended: "
               "libxl_domain_resume: error %d",
               domid, rc);
    else
        report(lg, XTL_WARN, "domain %u was suspended and has been resumed",
               domid);
}
