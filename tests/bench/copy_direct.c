/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two neighbours of the save stream, both one copy and O_DIRECT writes
 * through io_uring, from the same memory image:
 * BENCH_LAYOUT=stream: all of memory in order, no format, no checksum: the
 *   least that any save which copies once can do.
 * BENCH_LAYOUT=offset: each page that is not zero at its own place in the
 *   file, neighbours in one write, as mapped formats do.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "load.h"

#define SLOTS     8U
#define SLOT_SIZE (4U << 20)

struct copy {
    struct load_options options;
    int fd;
    uint8_t *image; /* mapped once */
    uint8_t *slots;
    bool busy[SLOTS];
    uint32_t length[SLOTS];
    struct io_uring ring;
    uint64_t bytes, writes;
};

static int reap(struct copy *copy)
{
    struct io_uring_cqe *cqe;
    uint64_t slot;
    int r;

    r = io_uring_wait_cqe(&copy->ring, &cqe);
    if (r) {
        errno = -r;
        return load_fail("io_uring");
    }
    slot = (uintptr_t)io_uring_cqe_get_data(cqe);
    r = cqe->res;
    io_uring_cqe_seen(&copy->ring, cqe);
    copy->busy[slot] = false;
    if (r != (int)copy->length[slot]) {
        errno = r < 0 ? -r : EIO;
        return load_fail("write");
    }
    return 0;
}

/* Copies pages from `page` on and starts their write at `offset`. */
static int put(struct copy *copy, uint64_t page, uint64_t pages,
               uint64_t offset)
{
    uint32_t slot = copy->writes++ % SLOTS;
    uint8_t *to = copy->slots + (uint64_t)slot * SLOT_SIZE;
    struct io_uring_sqe *sqe;
    int r;

    while (copy->busy[slot])
        if (reap(copy))
            return -1;
    for (uint64_t i = 0; i < pages; i++)
        memcpy(to + i * PAGE,
               copy->image + (page + i) % copy->options.image_pages * PAGE,
               PAGE);
    copy->length[slot] = pages * PAGE;
    copy->bytes += pages * PAGE;
    sqe = io_uring_get_sqe(&copy->ring);
    io_uring_prep_write_fixed(sqe, 0, to, pages * PAGE, offset, 0);
    io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
    io_uring_sqe_set_data(sqe, (void *)(uintptr_t)slot);
    r = io_uring_submit(&copy->ring);
    if (r != 1) {
        errno = r < 0 ? -r : EIO;
        return load_fail("submit");
    }
    copy->busy[slot] = true;
    return 0;
}

static int copy_stream(struct copy *copy)
{
    uint64_t pages = copy->options.pages, part;

    for (uint64_t page = 0; page < pages; page += part) {
        part = pages - page < SLOT_SIZE / PAGE ? pages - page
                                               : SLOT_SIZE / PAGE;
        if (put(copy, page, part, page * PAGE))
            return -1;
    }
    return 0;
}

static bool is_zero(const struct copy *copy, uint64_t page)
{
    const uint8_t *bytes = copy->image +
                           page % copy->options.image_pages * PAGE;
    uint64_t first;

    memcpy(&first, bytes, sizeof(first));
    return !first && !memcmp(bytes, bytes + 8, PAGE - 8);
}

static int copy_offset(struct copy *copy)
{
    uint64_t pages = copy->options.pages, run;

    for (uint64_t page = 0; page < pages; page += run ? run : 1) {
        for (run = 0; page + run < pages && run < SLOT_SIZE / PAGE; run++)
            if (is_zero(copy, page + run))
                break;
        if (run && put(copy, page, run, page * PAGE))
            return -1;
    }
    return 0;
}

static int open_ring(struct copy *copy)
{
    struct iovec region;
    int fd = fd_reopen(copy->fd, O_WRONLY | O_DIRECT), r;

    if (fd < 0)
        return load_fail("O_DIRECT");
    region.iov_len = (size_t)SLOTS * SLOT_SIZE;
    if (posix_memalign(&region.iov_base, 2 << 20, region.iov_len))
        return load_fail("buffers");
    copy->slots = region.iov_base;
    r = io_uring_queue_init(SLOTS, &copy->ring, 0);
    if (!r)
        r = io_uring_register_files(&copy->ring, &fd, 1);
    if (!r)
        r = io_uring_register_buffers(&copy->ring, &region, 1);
    errno = -r;
    return r ? load_fail("io_uring") : 0;
}

int main(int argc, char *argv[])
{
    struct load_image image;
    struct copy copy = { .fd = load_fd(argc, argv, 8, "--save-domain") };
    const char *layout = load_variable("BENCH_LAYOUT", "stream");
    struct load_meter meter;
    char more[128];
    int r;

    if (copy.fd < 0 || load_options_get(&copy.options))
        return 1;
    if (load_image_open(&image, &copy.options) ||
        load_image_fill(&image, &copy.options))
        return 1;
    copy.image = load_batch_map(&image, 0, image.pages, false);
    if (!copy.image)
        return 1;

    load_meter_begin(&meter);
    if (open_ring(&copy))
        return 1;
    r = strcmp(layout, "offset") ? copy_stream(&copy) : copy_offset(&copy);
    for (uint32_t slot = 0; slot < SLOTS && !r; slot++)
        while (copy.busy[slot] && !r)
            r = reap(&copy);
    io_uring_queue_exit(&copy.ring);
    load_meter_stream_end(&meter);
    if (r || (strcmp(copy.options.sync, "none") && fdatasync(copy.fd)))
        return 1;
    load_meter_end(&meter);

    snprintf(more, sizeof(more),
             "\"bytes\": %" PRIu64 ", \"writes\": %" PRIu64, copy.bytes,
             copy.writes);
    load_meter_report(&meter, more);
    return 0;
}
