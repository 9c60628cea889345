/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libxl_dominfo has grown over time, and one build supports all versions of
 * Xen: members whose offset never changed are accessed directly, the others by
 * a table.
 */
#include <stdlib.h>
#include <string.h>

#include "dominfo.h"

/* A newer libxl fills more than the structure that this is compiled with. */
union libxl_info {
    libxl_dominfo info;
    char room[4096];
};

_Static_assert(offsetof(libxl_dominfo, shutdown_reason) == 40 &&
                   offsetof(libxl_dominfo, current_memkb) == 56 &&
                   offsetof(libxl_dominfo, paged_memkb) == 72 &&
                   offsetof(libxl_dominfo, vcpu_online) == 100 &&
                   offsetof(libxl_dominfo, cpupool) == 104,
               "libxl_dominfo of Xen 4.14 and newer");

/* The newest first. */
static const struct layout {
    int minor;          /* from 4.minor on */
    size_t domain_type; /* offset */
} layouts[] = {
    { 17, 112 }, /* behind gpaddr_bits */
    { 14, 108 },
};

static libxl_domain_type type_of(const struct real *real,
                                 const union libxl_info *u)
{
    libxl_domain_type type;
    size_t i;

    for (i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
        if (real->minor < layouts[i].minor)
            continue;
        memcpy(&type, u->room + layouts[i].domain_type, sizeof(type));
        return type;
    }
    return 0;
}

int dominfo_read(const struct real *real, libxl_ctx *ctx, uint32_t domid,
                 struct dominfo *info)
{
    union libxl_info u;
    int rc;

    memset(info, 0, sizeof(*info));
    if (!real->domain_info || !real->dominfo_init || !real->dominfo_dispose)
        return ERROR_NI;
    memset(&u, 0, sizeof(u));
    real->dominfo_init(&u.info);
    rc = real->domain_info(ctx, &u.info, domid);
    if (!rc) {
        info->memory = (u.info.current_memkb + u.info.paged_memkb) << 10;
        info->suspended = u.info.shutdown && u.info.shutdown_reason ==
                                                 LIBXL_SHUTDOWN_REASON_SUSPEND;
        info->type = type_of(real, &u);
        info->pv = info->type == LIBXL_DOMAIN_TYPE_PV;
        info->vcpus = u.info.vcpu_online;
        memcpy(info->uuid, &u.info.uuid, sizeof(info->uuid));
    }
    real->dominfo_dispose(&u.info);
    return rc;
}

void domain_config(const struct real *real, libxl_ctx *ctx,
                   libxl_domain_config *d_config, struct domain_config *config)
{
    char *json = real->config_to_json ? real->config_to_json(ctx, d_config)
                                      : NULL;

    config_parse(config, (const unsigned char *)(json ? json : ""),
                 json ? strlen(json) : 0);
    free(json);
}
