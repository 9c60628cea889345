/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memsample INTERVAL_MS FILE: writes a line of dom0's memory counters (KiB)
 * to FILE at each interval, until it is ended.  The first line names them.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const names[] = {
    "MemFree", "MemAvailable", "Buffers",   "Cached",
    "Shmem",   "Dirty",        "Writeback", "SReclaimable",
};
#define NAMES (sizeof(names) / sizeof(names[0]))

int main(int argc, char **argv)
{
    char text[8192];
    struct timespec start, now, pause;
    long interval;
    int fd;
    FILE *out;

    if (argc != 3) {
        fprintf(stderr, "usage: memsample INTERVAL_MS FILE\n");
        return 2;
    }
    interval = strtol(argv[1], NULL, 10);
    pause.tv_sec = interval / 1000;
    pause.tv_nsec = interval % 1000 * 1000000;
    fd = open("/proc/meminfo", O_RDONLY);
    out = fopen(argv[2], "w");
    if (fd < 0 || !out) {
        perror("memsample");
        return 1;
    }
    fputs("ms", out);
    for (size_t i = 0; i < NAMES; i++)
        fprintf(out, " %s", names[i]);
    fputc('\n', out);

    clock_gettime(CLOCK_MONOTONIC, &start);
    for (;;) {
        ssize_t length = pread(fd, text, sizeof(text) - 1, 0);

        if (length < 0) {
            perror("memsample: /proc/meminfo");
            return 1;
        }
        text[length] = 0;
        clock_gettime(CLOCK_MONOTONIC, &now);
        fprintf(out, "%ld",
                (now.tv_sec - start.tv_sec) * 1000 +
                    (now.tv_nsec - start.tv_nsec) / 1000000);
        for (size_t i = 0; i < NAMES; i++) {
            char key[32];
            const char *at;

            snprintf(key, sizeof(key), "\n%s:", names[i]);
            at = strstr(text, key);
            fprintf(out, " %ld", at ? strtol(at + strlen(key), NULL, 10) : -1);
        }
        fputc('\n', out);
        fflush(out);
        nanosleep(&pause, NULL);
    }
}
