/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Space for the guest's memory, while the guest still runs.  Elided pages can
 * make the file smaller, but nobody knows by how much beforehand, and stock
 * would fail at the end of such a disk too: a disk that cannot hold all of it
 * is refused unless reserve is off.
 *
 * Blocks are allocated up to the file's new size (not beyond it): the direct
 * writer then never extends the file, which ext4 would serialise.  Whoever
 * reserves truncates.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <linux/fs.h>

#include "save.h"

/* vCPU contexts, emulator state, head and tail. */
#define OTHER_RECORDS (4U << 20)
/* A translated domain has gaps below 4 GiB: pfns without a page. */
#define PFNS_OF_GAPS (1U << 20)

#define MIB(bytes)   ((unsigned long long)((bytes) + (1 << 20) - 1) >> 20)

static int too_little(uint64_t need, uint64_t have, xentoollog_logger *lg)
{
    report(lg, XTL_ERROR,
           "not saved: needs %llu MiB, %llu MiB free; "
           "the domain keeps running (reserve=no tries all the same)",
           MIB(need), (unsigned long long)(have >> 20));
    return ERROR_FAIL;
}

static uint64_t free_space(int fd)
{
    struct statvfs vfs;

    return fstatvfs(fd, &vfs) ? 0 : (uint64_t)vfs.f_bavail * vfs.f_frsize;
}

static int reserve_device(int fd, uint64_t offset, uint64_t need,
                          xentoollog_logger *lg)
{
    uint64_t size;

    if (ioctl(fd, BLKGETSIZE64, &size))
        return 0;
    size = size > offset ? size - offset : 0;
    return size < need ? too_little(need, size, lg) : 0;
}

static int reserve_file(int fd, const struct stat *st, uint64_t offset,
                        uint64_t need, xentoollog_logger *lg)
{
    struct rlimit limit;
    int r, errnum;

    /* Above this limit fallocate would kill the program with SIGXFSZ. */
    if (!getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur != RLIM_INFINITY &&
        offset + need > limit.rlim_cur)
        return too_little(need, limit.rlim_cur, lg);

    do {
        r = fallocate(fd, 0, offset, need);
    } while (r && errno == EINTR);
    if (!r)
        return 0;

    errnum = errno;
    /* What was allocated before it failed, and before asking what is free. */
    if (ftruncate(fd, st->st_size))
        report(lg, XTL_WARN, "cannot shorten the file again: %s",
               strerror(errno));
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return too_little(need, free_space(fd), lg);
    default:
        /* This filesystem cannot allocate ahead; free space may change. */
        if (free_space(fd) < need)
            report(lg, XTL_WARN, "%llu MiB may be needed, %llu MiB free",
                   MIB(need), (unsigned long long)(free_space(fd) >> 20));
        return 0;
    }
}

int reserve_space(const struct real *real, libxl_ctx *ctx, uint32_t domid,
                  int fd, const struct stat *st, uint64_t offset,
                  enum xensave_format format, xentoollog_logger *lg)
{
    struct dominfo info;
    uint64_t need;

    /* No such domain: libxl will say so. */
    if (dominfo_read(real, ctx, domid, &info) || !info.memory)
        return 0;
    need = OTHER_RECORDS +
           xensave_encoder_most(format, info.memory / XENSAVE_V2_PAGE_SIZE,
                                info.pv ? 0 : PFNS_OF_GAPS);
    if (S_ISBLK(st->st_mode))
        return reserve_device(fd, offset, need, lg);
    return reserve_file(fd, st, offset, need, lg);
}
