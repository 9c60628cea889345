/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether a domain runs while it is saved or migrated: Xen must be able to
 * log what it writes.  XL_ALIGNED_LIVE says what is wanted: "yes" (if it can
 * be had), "no", "must" (nothing else will do).
 */
#include <dlfcn.h>
#include <string.h>

#include "save.h"

/* A newer libxl fills more than the structure that this is compiled with. */
union physinfo {
    libxl_physinfo info;
    char room[8192];
};

/* Of a PV domain, Xen logs writes by shadowing its page tables. */
static bool has_shadow_paging(libxl_ctx *ctx)
{
    void (*init)(libxl_physinfo *) = dlsym(RTLD_DEFAULT,
                                           "libxl_physinfo_init");
    void (*dispose)(libxl_physinfo *) = dlsym(RTLD_DEFAULT,
                                              "libxl_physinfo_dispose");
    int (*get)(libxl_ctx *, libxl_physinfo *) = dlsym(RTLD_DEFAULT,
                                                      "libxl_get_physinfo");
    union physinfo physinfo;
    bool has;

    if (!init || !dispose || !get)
        return false;
    memset(&physinfo, 0, sizeof(physinfo));
    init(&physinfo.info);
    has = !get(ctx, &physinfo.info) && physinfo.info.cap_shadow;
    dispose(&physinfo.info);
    return has;
}

static bool is_wanted(const char *how)
{
    return environment.live && !strcmp(environment.live, how);
}

int live_flags(const struct real *real, libxl_ctx *ctx, uint32_t domid,
               int flags, xentoollog_logger *lg)
{
    struct dominfo info;

    if (is_wanted("no"))
        return flags & ~LIBXL_SUSPEND_LIVE;
    if (is_wanted("yes"))
        flags |= LIBXL_SUSPEND_LIVE;
    else if (is_wanted("must") || !environment.negotiated)
        return flags; /* Xen may refuse what was asked for */
    if (!(flags & LIBXL_SUSPEND_LIVE) ||
        dominfo_read(real, ctx, domid, &info) || !info.pv ||
        has_shadow_paging(ctx))
        return flags;
    report(lg, XTL_WARN,
           "domain %u is paused during the %s: it is a PV "
           "domain, and this Xen was built without shadow paging",
           domid, environment.negotiated ? "migration" : "save");
    return flags & ~LIBXL_SUSPEND_LIVE;
}
