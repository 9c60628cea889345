/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the programs that stand for libxl-save-helper in the benchmarks. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "xensave.h"

#define PAGE      XENSAVE_V2_PAGE_SIZE

#define TYPE_XTAB 0xfULL

/*
 * What libxenguest calls, as libxenctrl exports it (its private header is not
 * installed).  The helper-side library stands in front of all three.
 */
int read_exact(int fd, void *data, size_t size);
int write_exact(int fd, const void *data, size_t size);
int writev_exact(int fd, const struct iovec *iov, int iovcnt);

/* ---- options: the environment, since argv has the helper's form --------- */

struct load_options {
    uint64_t pages;       /* of the guest: BENCH_SIZE / 4096 */
    uint64_t image_pages; /* of memory that stands for them; see below */
    uint64_t seed;
    const char *data;             /* name of the data set */
    const char *capture;          /* a v2 save file to replay instead */
    bool merged;                  /* iovecs and arrays as in Xen's master */
    bool pvh;                     /* with batches without pages */
    const char *sync;             /* "none", "data", "commit" */
    const char *inproc;           /* a format: without the helper library */
    struct xensave_io_options io; /* for inproc */
    bool by_batch;                /* BENCH_MAP=batch: see load_image */
    bool digest;
};

int load_options_get(struct load_options *options);
const char *load_variable(const char *name, const char *otherwise);
uint64_t load_number(const char *name, uint64_t otherwise);

/* ---- the guest's memory ------------------------------------------------- */

/*
 * Shared memory of 4 KiB pages.  It is mapped once, or batch by batch, as
 * libxenguest maps a guest's through privcmd: what that costs without the
 * hypercalls.  Where the image is smaller than the guest, page n of the guest
 * is page n % image_pages of the image: no page is used twice in a batch.
 */
struct load_image {
    int fd;
    uint64_t pages;
    bool by_batch;
    uint8_t *memory; /* all of it */
};

int load_image_open(struct load_image *image,
                    const struct load_options *options);
int load_image_fill(struct load_image *image,
                    const struct load_options *options);
void load_image_set(struct load_image *image, uint8_t byte);
uint64_t load_image_digest(const struct load_image *image);
/* Pages from page `index` of the guest on, present in the page table. */
uint8_t *load_batch_map(const struct load_image *image, uint64_t index,
                        uint64_t pages, bool write);
void load_batch_unmap(const struct load_image *image, void *mapping,
                      uint64_t pages);

/*
 * Where the guest's pages are: RAM below 3.5 GiB, the rest from 4 GiB on, as
 * Xen lays a PVH guest out.  `index` counts the guest's pages.
 */
#define HOLE_BEGIN 0xe0000ULL
#define HOLE_END   0x100000ULL
#define VGA_BEGIN  0xa0ULL
#define VGA_END    0xc0ULL
/* Up to here stock looks for pages of a PVH guest, however small it is. */
#define PVH_PFNS (1075ULL << 10)

static inline uint64_t pfn_to_index(uint64_t pfn)
{
    return pfn < HOLE_BEGIN ? pfn : pfn - (HOLE_END - HOLE_BEGIN);
}

static inline bool pfn_has_page(const struct load_options *options,
                                uint64_t pfn)
{
    if (pfn >= HOLE_BEGIN && pfn < HOLE_END)
        return false;
    if (pfn >= VGA_BEGIN && pfn < VGA_END)
        return false;
    return pfn_to_index(pfn) < options->pages;
}

/* ---- what is measured --------------------------------------------------- */

struct load_meter {
    double begin, stream_end, end;
    double user, system;
    long rss_begin, rss_peak; /* KiB */
};

/*
 * Says "ready" on stdout and waits for a line on stdin: the program that
 * measures prepares the page cache and reads its own counters then.
 */
void load_meter_begin(struct load_meter *meter);
void load_meter_stream_end(struct load_meter *meter);
void load_meter_end(struct load_meter *meter);
/* One line of JSON with `more` in it, then waits for a line again. */
void load_meter_report(const struct load_meter *meter, const char *more);

/* Prints one line and returns -1. */
int load_fail(const char *what);

/*
 * The arguments of libxl-save-helper, of which only the fd matters here.
 * `count` as the helper expects it.
 */
int load_fd(int argc, char *argv[], int count, const char *mode);

#endif /* BENCH_LOAD_H */
