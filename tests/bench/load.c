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
        fprintf(stderr, "usage: %s %s <fd> … with the %d arguments of "
                "libxl-save-helper; options: tests/bench/load.h\n",
                program_invocation_short_name, mode, count - 1);
        return -1;
    }
    fd = atoi(argv[2]);
    if (fcntl(fd, F_GETFL) < 0)
        return load_fail("stream fd");
    return fd;
}

/* ---- options ---------------------------------------------------------------- */

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
    options->digest = load_number("BENCH_DIGEST", 0);
    options->io.buffer_size = load_number("BENCH_BUFFER_SIZE", 0);
    options->io.buffers = load_number("BENCH_BUFFERS", 0);
    if (v3_io_parse(io, &options->io.io))
        return load_fail("BENCH_IO");
    if (v3_engine_parse(engine, &options->io.engine))
        return load_fail("BENCH_ENGINE");
    /* A batch must not hold a page of the image twice. */
    if (options->image_pages < V3_BATCH_MAX) {
        errno = EINVAL;
        return load_fail("BENCH_SIZE or BENCH_IMAGE below 4 MiB");
    }
    return 0;
}

/* ---- memory ------------------------------------------------------------------ */

void *load_image_alloc(uint64_t pages)
{
    void *image = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (image == MAP_FAILED) {
        load_fail("guest memory");
        return NULL;
    }
    madvise(image, pages * PAGE, MADV_NOHUGEPAGE);
    return image;
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
    {"random", zero_none},
    {"half-runs", zero_runs},
    {"half-pages", zero_alternate},
    {"tenth", zero_most},
};

int load_image_fill(uint8_t *image, const struct load_options *options)
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
    for (uint64_t page = 0; page < options->image_pages; page++) {
        word = (uint64_t *)(image + page * PAGE);
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

uint64_t load_digest(const void *image, uint64_t octets)
{
    XXH3_state_t *state = XXH3_createState();
    uint64_t digest;

    XXH3_64bits_reset(state);
    XXH3_64bits_update(state, image, octets);
    digest = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return digest;
}

/* ---- the meter ----------------------------------------------------------------- */

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
    char octet;

    if (isatty(0))
        return;
    while (read(0, &octet, 1) == 1 && octet != '\n')
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
