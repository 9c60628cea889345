/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "io.h"

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

uint32_t xensave_direct_alignment(int fd)
{
    uint32_t alignment = XENSAVE_ALIGNMENT_MIN;
#ifdef STATX_DIOALIGN
    struct statx facts;

    if (!statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &facts) &&
        (facts.stx_mask & STATX_DIOALIGN)) {
        if (!facts.stx_dio_offset_align)
            return 0;
        while (alignment < facts.stx_dio_offset_align ||
               alignment < facts.stx_dio_mem_align)
            alignment *= 2;
    }
#else
    (void)fd;
#endif
    return alignment <= XENSAVE_ALIGNMENT_MAX ? alignment : 0;
}

int xensave_file_size(int fd, uint64_t *size, bool *is_device)
{
    struct stat facts;

    if (fstat(fd, &facts))
        return -1;
    *is_device = S_ISBLK(facts.st_mode);
    *size = facts.st_size;
    if (*is_device)
        return ioctl(fd, BLKGETSIZE64, size);
    if (!S_ISREG(facts.st_mode)) {
        errno = ESPIPE;
        return -1;
    }
    return 0;
}

/* linux/mman.h of 6.5; older C libraries do not have it. */
struct cachestat_range {
    uint64_t off;
    uint64_t len;
};

struct cachestat_counts {
    uint64_t cache;
    uint64_t dirty;
    uint64_t writeback;
    uint64_t evicted;
    uint64_t recently_evicted;
};

static int64_t resident_by_mincore(int fd, uint64_t offset, uint64_t length)
{
    const size_t step = 64UL << 20;
    unsigned char *vector;
    int64_t resident = 0;
    void *memory;
    size_t part, pages;

    vector = malloc(step / XENSAVE_V2_PAGE_SIZE);
    if (!vector)
        return -1;
    for (; length && resident >= 0; offset += part, length -= part) {
        part = min_u64(length, step);
        pages = round_up(part, XENSAVE_V2_PAGE_SIZE) / XENSAVE_V2_PAGE_SIZE;
        memory = mmap(NULL, part, PROT_READ, MAP_SHARED, fd, offset);
        if (memory == MAP_FAILED) {
            resident = -1;
            break;
        }
        if (mincore(memory, part, vector))
            resident = -1;
        for (size_t i = 0; i < pages && resident >= 0; i++)
            resident += vector[i] & 1 ? XENSAVE_V2_PAGE_SIZE : 0;
        munmap(memory, part);
    }
    free(vector);
    return resident;
}

int64_t xensave_resident(int fd, uint64_t offset, uint64_t length)
{
    struct cachestat_range range;
    struct cachestat_counts counts;

    if (!length)
        return 0;
    range.off = round_down(offset, XENSAVE_V2_PAGE_SIZE);
    range.len = length + (offset - range.off);
    if (!syscall(SYS_cachestat, fd, &range, &counts, 0))
        return counts.cache * XENSAVE_V2_PAGE_SIZE;
    return resident_by_mincore(fd, range.off, range.len);
}

int xensave_sync_range(int fd, uint64_t offset, uint64_t length, bool wait)
{
    unsigned flags = SYNC_FILE_RANGE_WRITE;

    if (wait)
        flags |= SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER;
    /* Without the call there is no error to lose: fsync will report it. */
    return sync_file_range(fd, offset, length, flags) && errno != ENOSYS ? -1
                                                                         : 0;
}

PUBLIC int xensave_fd_sync(int fd)
{
    struct stat facts;
    int errnum;

    if (!fsync(fd))
        return 0;
    errnum = errno;
    if ((errnum == EINVAL || errnum == EROFS) && !fstat(fd, &facts) &&
        !S_ISREG(facts.st_mode) && !S_ISBLK(facts.st_mode))
        return 0;
    errno = errnum;
    return -1;
}
