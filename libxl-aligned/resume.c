/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A save that fails after the suspension leaves the domain suspended.  xl
 * resumes it.  libvirt takes it to be running and does nothing; only where it
 * migrates does it resume.
 */
#include "internal.h"

static bool is_suspended(const struct real *real, libxl_ctx *ctx,
                         uint32_t domid)
{
    struct domain_facts facts;

    return !domain_facts(real, ctx, domid, &facts) && facts.suspended;
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
    death_renew(ctx, domid);
    if (rc)
        report(lg, XTL_ERROR,
               "domain %u stays suspended: "
               "libxl_domain_resume: error %d",
               domid, rc);
    else
        report(lg, XTL_WARN, "domain %u was suspended and runs again", domid);
}
