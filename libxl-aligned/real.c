/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The functions that this library stands in front of.  It is not linked with
 * libxenlight, whose name changes with every release of Xen: one build serves
 * all whose interface is known.
 */
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#include "real.h"

/* The interface did not change since; stream helper arguments neither. */
#define OLDEST_MINOR 14

static void *object_of(const void *address)
{
    Dl_info info;

    return dladdr(address, &info) ? info.dli_fbase : NULL;
}

/*
 * Behind this library in the search order (preloaded, or linked ahead of
 * libxenlight), else wherever the program finds it.
 */
void *real_symbol(const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);

    if (!symbol) {
        symbol = dlsym(RTLD_DEFAULT, name);
        if (symbol && object_of(symbol) == object_of(own_path))
            symbol = NULL;
    }
    return symbol;
}

static const char *soname_of(const void *address)
{
    struct link_map *map = NULL;
    const ElfW(Dyn) * dyn;
    const char *strings = NULL;
    Dl_info info;
    size_t soname = 0;

    if (!dladdr1(address, &info, (void **)&map, RTLD_DL_LINKMAP) || !map)
        return NULL;
    for (dyn = map->l_ld; dyn->d_tag != DT_NULL; dyn++) {
        if (dyn->d_tag == DT_STRTAB)
            strings = (const char *)dyn->d_un.d_ptr;
        else if (dyn->d_tag == DT_SONAME)
            soname = dyn->d_un.d_val;
    }
    if (!strings || !soname)
        return NULL;
    /* Some architectures keep it relative to where the object is mapped. */
    if ((uintptr_t)strings < map->l_addr)
        strings += map->l_addr;
    return strings + soname;
}

static void check_version(struct real *real, char *why, size_t size)
{
    const char *soname = soname_of(real->suspend);
    int minor, end = 0;

    if (!soname)
        soname = "a libxenlight without a name";
    if (sscanf(soname, "libxenlight.so.4.%d%n", &minor, &end) == 1 &&
        !soname[end] && minor >= OLDEST_MINOR)
        real->minor = minor;
    else
        snprintf(why, size, "%s is not a known version of Xen (4.%d or newer)",
                 soname, OLDEST_MINOR);
}

void real_find(struct real *real, char *why, size_t size)
{
    const struct {
        const char *name;
        void **symbol;
    } table[] = {
        { "libxl_domain_suspend", (void **)&real->suspend },
        { "libxl_domain_create_restore", (void **)&real->create_restore },
        { "libxl_domain_resume", (void **)&real->resume },
        { "libxl_domain_info", (void **)&real->domain_info },
        { "libxl_dominfo_init", (void **)&real->dominfo_init },
        { "libxl_dominfo_dispose", (void **)&real->dominfo_dispose },
    };
    const char *missing = NULL;
    size_t i;

    memset(real, 0, sizeof(*real));
    real->minor = -1;
    /* Without it, less is told of a restore. */
    real->config_to_json = real_symbol("libxl_domain_config_to_json");
    why[0] = '\0';
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        *table[i].symbol = real_symbol(table[i].name);
        if (!*table[i].symbol && !missing)
            missing = table[i].name;
    }

    if (missing)
        snprintf(why, size, "%s not found in this program's libraries",
                 missing);
    else if (object_of(dlsym(RTLD_DEFAULT, "execvp")) != object_of(own_path))
        /* Loaded too late to be found ahead of libc. */
        snprintf(why, size,
                 "not in the program's global symbol scope: "
                 "preload %s",
                 own_path);
    else
        check_version(real, why, size);
}
