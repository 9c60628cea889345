/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The program that dumps has Xen's libraries loaded; this one is not linked
 * with them, since their names change with every release.
 */
#include <dlfcn.h>
#include <stdio.h>

#include "dump.h"

bool xen_find(struct xen *xen, char *why, size_t size)
{
    const struct {
        const char *name;
        void **symbol;
    } table[] = {
        { "xc_domain_getinfolist", (void **)&xen->getinfolist },
        { "xc_vcpu_getcontext", (void **)&xen->getcontext },
        { "xc_domain_hvm_getcontext_partial",
          (void **)&xen->hvm_getcontext_partial },
        { "xc_domain_nr_gpfns", (void **)&xen->nr_gpfns },
        { "xc_maximum_ram_page", (void **)&xen->maximum_ram_page },
        { "xc_domain_get_guest_width", (void **)&xen->guest_width },
        { "xc_version", (void **)&xen->version },
        { "xc_map_domain_meminfo", (void **)&xen->map_meminfo },
        { "xc_unmap_domain_meminfo", (void **)&xen->unmap_meminfo },
        { "xc_map_m2p", (void **)&xen->map_m2p },
        { "xc_interface_fmem_handle", (void **)&xen->memory_handle },
        { "xenforeignmemory_map", (void **)&xen->map },
        { "xenforeignmemory_unmap", (void **)&xen->unmap },
    };
    size_t i;

    xen->dumpcore = dlsym(RTLD_NEXT, "xc_domain_dumpcore");
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        *table[i].symbol = dlsym(RTLD_DEFAULT, table[i].name);
        if (*table[i].symbol)
            continue;
        snprintf(why, size, "Xen's libraries have no %s", table[i].name);
        return false;
    }
    return true;
}
