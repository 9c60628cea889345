/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <xxh_x86dispatch.h>

#include "load.h"

int load_fail(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what,
            strerror(errno));
    return -1;
}

int load_fd(int argc, char *argv[], int count, const char *mode)
{
    int fd;

    if (argc != count || strcmp(argv[1], mode)) {
        fprintf(stderr,
                "usage: %s %s <fd> … with the %d arguments of "
                "libxl-save-helper; options: tests/bench/load.h\n",
                program_invocation_short_name, mode, count - 1);
        return -1;
    }
    fd = atoi(argv[2]);
    if (fcntl(fd, F_GETFL) < 0)
        return load_fail("stream fd");
    return fd;
}

/* ---- options ------------------------------------------------------------ */

const char *load_variable(const char *name, const char *otherwise)
{
    const char *value = getenv(name);

    return value && *value ? value : otherwise;
}

uint64_t load_number(const char *name, uint64_t otherwise)
{
    const char *value = load_variable(name, NULL);

    return value ? strtoull(value, NULL, 0) : otherwise;
}

int load_options_get(struct load_options *options)
{
    const char *io = load_variable("BENCH_IO", "auto");
    const char *engine = load_variable("BENCH_ENGINE", "auto");

    memset(options, 0, sizeof(*options));
    options->pages = load_number("BENCH_SIZE", 256 << 20) / PAGE;
    options->image_pages = load_number("BENCH_IMAGE", 0) / PAGE;
    if (!options->image_pages || options->image_pages > options->pages)
        options->image_pages = options->pages;
    options->seed = load_number("BENCH_SEED", 1);
    options->data = load_variable("BENCH_DATA", "random");
    options->capture = load_variable("BENCH_CAPTURE", NULL);
    options->merged = !strcmp(load_variable("BENCH_XEN", "4.17"), "master");
    options->pvh = !strcmp(load_variable("BENCH_GUEST", "pvh"), "pvh");
    options->sync = load_variable("BENCH_SYNC", "none");
    options->inproc = load_variable("BENCH_INPROC", NULL);
    options->by_batch = !strcmp(load_variable("BENCH_MAP", "once"), "batch");
    options->digest = load_number("BENCH_DIGEST", 0);
    options->io.size = sizeof(options->io);
    options->io.buffer_size = load_number("BENCH_BUFFER_SIZE", 0);
    options->io.buffers = load_number("BENCH_BUFFERS", 0);
    if (xensave_io_parse(io, &options->io.io))
        return load_fail("BENCH_IO");
    if (xensave_engine_parse(engine, &options->io.engine))
        return load_fail("BENCH_ENGINE");
    /* So that a batch is one piece of the image. */
    if (!options->capture &&
        (!options->pages || options->pages % XENSAVE_BATCH_MAX ||
         options->image_pages % XENSAVE_BATCH_MAX)) {
        errno = EINVAL;
        return load_fail("BENCH_SIZE and BENCH_IMAGE: multiples of 4 MiB");
    }
    return 0;
}

/* ---- memory ------------------------------------------------------------- */

static uint8_t *map(int fd, uint64_t page, uint64_t pages, int protection)
{
    void *memory = mmap(NULL, pages * PAGE, protection,
                        MAP_SHARED | MAP_POPULATE, fd, page * PAGE);

    if (memory != MAP_FAILED)
        return memory;
    load_fail("mapping guest memory");
    return NULL;
}

int load_image_open(struct load_image *image,
                    const struct load_options *options)
{
    image->pages = options->image_pages;
    image->by_batch = options->by_batch;
    image->fd = memfd_create("guest", MFD_CLOEXEC);
    if (image->fd < 0 || ftruncate(image->fd, image->pages * PAGE))
        return load_fail("guest memory");
    image->memory = map(image->fd, 0, image->pages, PROT_READ | PROT_WRITE);
    return image->memory ? 0 : -1;
}

uint8_t *load_batch_map(const struct load_image *image, uint64_t index,
                        uint64_t pages, bool write)
{
    index %= image->pages;
    if (!image->by_batch)
        return image->memory + index * PAGE;
    return map(image->fd, index, pages, PROT_READ | (write ? PROT_WRITE : 0));
}

void load_batch_unmap(const struct load_image *image, void *mapping,
                      uint64_t pages)
{
    if (mapping && image->by_batch)
        munmap(mapping, pages * PAGE);
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
    return x ^ x >> 31;
}

static bool zero_none(uint64_t page)
{
    (void)page;
    return false;
}

static bool zero_runs(uint64_t page)
{
    return page / 512 % 2;
}

static bool zero_alternate(uint64_t page)
{
    return page % 2;
}

static bool zero_most(uint64_t page)
{
    return mix(page) % 10 != 0;
}

static const struct data_set {
    const char *name;
    bool (*zero)(uint64_t page);
} data_sets[] = {
    { "random", zero_none },
    { "half-runs", zero_runs },
    { "half-pages", zero_alternate },
    { "tenth", zero_most },
};

int load_image_fill(struct load_image *image,
                    const struct load_options *options)
{
    const struct data_set *set = NULL;
    uint64_t *word, state;

    for (size_t i = 0; i < sizeof(data_sets) / sizeof(data_sets[0]); i++)
        if (!strcmp(data_sets[i].name, options->data))
            set = &data_sets[i];
    if (!set) {
        errno = EINVAL;
        return load_fail("BENCH_DATA");
    }
    for (uint64_t page = 0; page < image->pages; page++) {
        word = (uint64_t *)(image->memory + page * PAGE);
        if (set->zero(page) || (page >= VGA_BEGIN && page < VGA_END)) {
            /* A page of its own, not the kernel's one zero page. */
            memset(word, 0, PAGE);
            continue;
        }
        state = mix(options->seed + page * 0x9e3779b97f4a7c15ULL);
        for (size_t i = 0; i < PAGE / sizeof(*word); i++)
            word[i] = mix(state += 0x9e3779b97f4a7c15ULL);
    }
    return 0;
}

void load_image_set(struct load_image *image, uint8_t byte)
{
    memset(image->memory, byte, image->pages * PAGE);
    /* No page of Xen's: nothing fills it. */
    memset(image->memory + VGA_BEGIN * PAGE, 0, (VGA_END - VGA_BEGIN) * PAGE);
}

uint64_t load_image_digest(const struct load_image *image)
{
    return XXH3_64bits(image->memory, image->pages * PAGE);
}

/* ---- the meter ---------------------------------------------------------- */

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double seconds(const struct timeval *time)
{
    return time->tv_sec + time->tv_usec / 1e6;
}

/* Of all threads, io_uring's workers included. */
static void processor(double *user, double *system)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    *user = seconds(&usage.ru_utime);
    *system = seconds(&usage.ru_stime);
}

/* KiB of a line of /proc/self/status. */
static long status(const char *key)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long value = 0;

    while (file && fgets(line, sizeof(line), file))
        if (!strncmp(line, key, strlen(key)))
            value = atol(line + strlen(key) + 1);
    if (file)
        fclose(file);
    return value;
}

static void reset_peak(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY);

    if (fd < 0 || write(fd, "5", 1) != 1)
        load_fail("cannot reset the peak of RSS");
    if (fd >= 0)
        close(fd);
}

static void wait_for_line(void)
{
    char byte;

    if (isatty(0))
        return;
    while (read(0, &byte, 1) == 1 && byte != '\n')
        ;
}

void load_meter_begin(struct load_meter *meter)
{
    memset(meter, 0, sizeof(*meter));
    printf("ready\n");
    fflush(stdout);
    wait_for_line();
    reset_peak();
    meter->rss_begin = status("VmRSS") + status("HugetlbPages");
    processor(&meter->user, &meter->system);
    meter->begin = now();
}

void load_meter_stream_end(struct load_meter *meter)
{
    meter->stream_end = now();
}

void load_meter_end(struct load_meter *meter)
{
    double user, system;

    meter->end = now();
    processor(&user, &system);
    meter->user = user - meter->user;
    meter->system = system - meter->system;
    meter->rss_peak = status("VmHWM") + status("HugetlbPages");
}

void load_meter_report(const struct load_meter *meter, const char *more)
{
    printf("{\"seconds\": %.6f, \"stream_seconds\": %.6f, \"user\": %.6f, "
           "\"system\": %.6f, \"rss_added_kib\": %ld%s%s}\n",
           meter->end - meter->begin, meter->stream_end - meter->begin,
           meter->user, meter->system, meter->rss_peak - meter->rss_begin,
           *more ? ", " : "", more);
    fflush(stdout);
    wait_for_line();
}
