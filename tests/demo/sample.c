/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Prints the memory figures of this machine, a line of "key=value" every so
 * many milliseconds, until it is killed.  One process, so that watching an
 * emulated host does not load it.  usage: sample MILLISECONDS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
    const char *file;
    const char *key; /* as the line begins */
    const char *name;
} wanted[] = {
    { "/proc/meminfo", "MemFree:", "free_kib" },
    { "/proc/meminfo", "Buffers:", "buffers_kib" },
    { "/proc/meminfo", "Cached:", "cached_kib" },
    { "/proc/meminfo", "Shmem:", "shmem_kib" },
    { "/proc/meminfo", "Dirty:", "dirty_kib" },
    { "/proc/vmstat", "workingset_refault_file ", "refaults" },
    { "/proc/vmstat", "pgmajfault ", "major_faults" },
    { "/proc/vmstat", "pgsteal_kswapd ", "stolen_kswapd" },
    { "/proc/vmstat", "pgsteal_direct ", "stolen_direct" },
};
#define WANTED (sizeof(wanted) / sizeof(wanted[0]))

static void print_file(const char *path)
{
    char line[256];
    FILE *file = fopen(path, "r");

    if (!file)
        return;
    while (fgets(line, sizeof(line), file))
        for (size_t i = 0; i < WANTED; i++)
            if (!strcmp(wanted[i].file, path) &&
                !strncmp(line, wanted[i].key, strlen(wanted[i].key)))
                printf(" %s=%lld", wanted[i].name,
                       atoll(line + strlen(wanted[i].key)));
    fclose(file);
}

int main(int argc, char **argv)
{
    long interval = argc > 1 ? atol(argv[1]) : 200;
    struct timespec pause = { interval / 1000, interval % 1000 * 1000000 };
    struct timespec now;

    for (;;) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        printf("seconds=%.3f", now.tv_sec + now.tv_nsec * 1e-9);
        print_file("/proc/meminfo");
        print_file("/proc/vmstat");
        putchar('\n');
        if (fflush(stdout))
            return 1;
        nanosleep(&pause, NULL);
    }
}
