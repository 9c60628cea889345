/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bytes of one file in another that this program does not read.  The ways
 * are tried in turn; one that refuses is not asked again.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "saved.h"

/* What is risked to see whether copying goes through the page cache. */
#define TRIAL 65536U

/* XFS and btrfs: both files have the same blocks from then on. */
static bool clone_range(struct core_share *share, uint64_t from, uint64_t to,
                        uint64_t length)
{
    struct file_clone_range range = {
        .src_fd = share->from,
        .src_offset = from,
        .src_length = length,
        .dest_offset = to,
    };

    return !ioctl(share->to, FICLONERANGE, &range);
}

static bool copy_exact(struct core_share *share, uint64_t from, uint64_t to,
                       uint64_t length)
{
    loff_t in = from, out = to;
    ssize_t r;

    for (; length; length -= r) {
        do
            r = copy_file_range(share->from, &in, share->to, &out, length, 0);
        while (r < 0 && errno == EINTR);
        if (r <= 0)
            return false;
    }
    return true;
}

/*
 * NFS, CIFS, Ceph and FUSE: the server copies.  Other filesystems
 * copy as well, through the page cache, which direct I/O does better.
 */
static bool copy_range(struct core_share *share, uint64_t from, uint64_t to,
                       uint64_t length)
{
    uint64_t trial = share->copies ? 0 : min_u64(length, TRIAL);

    if (trial) {
        if (!copy_exact(share, from, to, trial))
            return false;
        /* The write that then takes its place drops it, or reports why not. */
        if (xensave_resident(share->to, to, trial))
            return false;
        share->copies = true;
    }
    return copy_exact(share, from + trial, to + trial, length - trial);
}

static bool (*const ways[])(struct core_share *share, uint64_t from,
                            uint64_t to, uint64_t length) = {
    clone_range,
    copy_range,
};

void core_share_init(struct core_share *share, int from, int to)
{
    *share = (struct core_share){ .from = from, .to = to };
    if (to < 0)
        share->way = ARRAY_SIZE(ways);
}

bool core_can_share(const struct core_share *share)
{
    return share->way < ARRAY_SIZE(ways);
}

bool core_share(struct core_share *share, uint64_t from, uint64_t to,
                uint64_t length)
{
    for (; core_can_share(share); share->way++)
        if (ways[share->way](share, from, to, length))
            return true;
    return false;
}
