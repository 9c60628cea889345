/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libxl reports the shutdown of a domain once for each request to be told,
 * and the suspension of a failed save counts: libvirt would never hear that
 * the guest powered off, rebooted or crashed later.  So what libvirt holds is
 * a request of ours, behind which libxl's is renewed.
 */
#include <pthread.h>
#include <stdlib.h>

#include "internal.h"

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

void death_renew(libxl_ctx *ctx, uint32_t domid)
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
