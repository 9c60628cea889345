/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The init of a lab guest: fills memory with noise and checks it again and
 * again, with a verdict on the console each time.
 *
 * Kernel parameters: lab.noise=MiB lab.seed=N lab.interval=seconds
 * lab.dirty=pages (written anew between two checks, for live migration).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#include "noise.h"

static uint64_t parameter(const char *cmdline, const char *name,
                          uint64_t fallback)
{
    const char *at = strstr(cmdline, name);

    return at ? strtoull(at + strlen(name), NULL, 0) : fallback;
}

static void die(const char *what)
{
    printf("verdict 0 BAD %s: %s\n", what, strerror(errno));
    fflush(stdout);
    sync();
    sleep(1);
    reboot(RB_POWER_OFF);
    exit(1);
}

int main(void)
{
    static char cmdline[4096];
    uint64_t pages, seed, interval, dirty, next_dirty = 0;
    uint64_t *memory;
    uint32_t *generation;
    FILE *file;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (mount("proc", "/proc", "proc", 0, NULL))
        die("mount /proc");
    file = fopen("/proc/cmdline", "r");
    if (!file || !fgets(cmdline, sizeof(cmdline), file))
        die("/proc/cmdline");
    fclose(file);

    pages = parameter(cmdline, "lab.noise=", 16) << 8;
    seed = parameter(cmdline, "lab.seed=", 1);
    interval = parameter(cmdline, "lab.interval=", 1);
    dirty = parameter(cmdline, "lab.dirty=", 0);

    memory = mmap(NULL, pages << 12, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    generation = calloc(pages, sizeof(*generation));
    if (memory == MAP_FAILED || !generation)
        die("memory for noise");

    for (uint64_t p = 0; p < pages; p++)
        noise_fill(memory + p * NOISE_WORDS, noise_start(seed, p, 0));
    printf("filled %" PRIu64 " pages, seed %" PRIu64 "\n", pages, seed);

    for (uint64_t n = 1;; n++) {
        uint64_t hash = seed, bad = 0, first = 0;
        struct timespec pause = { .tv_sec = interval };

        for (uint64_t p = 0; p < pages; p++) {
            uint64_t state = noise_start(seed, p, generation[p]);

            if (!noise_check(memory + p * NOISE_WORDS, state, &hash) && !bad++)
                first = p;
        }
        if (bad)
            printf("verdict %" PRIu64 " BAD %016" PRIx64 " %" PRIu64
                   " pages, first %" PRIu64 "\n",
                   n, hash, bad, first);
        else
            printf("verdict %" PRIu64 " ok %016" PRIx64 "\n", n, hash);

        for (uint64_t i = 0; i < dirty && i < pages; i++) {
            uint64_t p = next_dirty++ % pages;

            noise_fill(memory + p * NOISE_WORDS,
                       noise_start(seed, p, ++generation[p]));
        }
        nanosleep(&pause, NULL);
    }
}
