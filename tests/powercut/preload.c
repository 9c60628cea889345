/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Preloaded into xl: marks the moment from which the guest is lost to
 * everything but its file, which is when xl orders its destruction.  With
 * POWERCUT_NO_SYNC, moreover, nothing is brought to stable storage: the cuts
 * have to find that.
 */
#include <dlfcn.h>

#include "mark.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int libxl_domain_destroy(void *ctx, uint32_t domid, const void *ao_how);
EXPORT int fsync(int fd);
EXPORT int fdatasync(int fd);

int libxl_domain_destroy(void *ctx, uint32_t domid, const void *ao_how)
{
    int (*real)(void *, uint32_t, const void *) =
        (int (*)(void *, uint32_t, const void *))dlsym(RTLD_NEXT,
                                                       "libxl_domain_destroy");
    off_t offset = 0;
    int fd = mark_open(&offset);

    if (!real || fd < 0 || mark_write(fd, offset, "destroy")) {
        fputs("powercut: the mark could not be written\n", stderr);
        abort();
    }
    close(fd);
    return real(ctx, domid, ao_how);
}

static int sync_file(const char *name, int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);

    return getenv("POWERCUT_NO_SYNC") ? 0 : real(fd);
}

int fsync(int fd)
{
    return sync_file("fsync", fd);
}

int fdatasync(int fd)
{
    return sync_file("fdatasync", fd);
}
