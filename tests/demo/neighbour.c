/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Other work in dom0: reads 4 KiB at random places of a file that it keeps
 * hot, at a steady pace, and says how long each read took.
 *
 * usage: neighbour FILE MICROSECONDS_BETWEEN_READS
 *
 * Prints "reads=… p50_us=… p99_us=… max_us=… major_faults=…" for the time
 * since the last such line whenever it gets SIGUSR1, and once more on
 * SIGTERM before it ends.  "ready" when the whole file has been read once.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK     4096
#define READS_MAX (1 << 20)

static volatile sig_atomic_t report_wanted, ending;
static float latency[READS_MAX];
static unsigned reads;
static char block[BLOCK], warm_up[1 << 20];

static void on_signal(int number)
{
    report_wanted = 1;
    ending |= number == SIGTERM;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static void report(void)
{
    static long faults_before;
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    qsort(latency, reads, sizeof(latency[0]), compare);
    if (reads)
        printf("reads=%u p50_us=%.0f p99_us=%.0f max_us=%.0f "
               "major_faults=%ld\n",
               reads, latency[reads / 2] * 1e6,
               latency[reads * 99ULL / 100] * 1e6, latency[reads - 1] * 1e6,
               usage.ru_majflt - faults_before);
    fflush(stdout);
    faults_before = usage.ru_majflt;
    reads = 0;
    report_wanted = 0;
}

static void read_block(int fd, off_t at)
{
    double start = now();

    if (pread(fd, block, BLOCK, at) != BLOCK) {
        perror("neighbour: pread");
        exit(1);
    }
    if (reads < READS_MAX)
        latency[reads++] = now() - start;
}

int main(int argc, char **argv)
{
    struct sigaction action = { .sa_handler = on_signal };
    struct timespec pause = { 0 };
    struct stat facts;
    long blocks;
    int fd;

    if (argc != 3)
        return 2;
    fd = open(argv[1], O_RDONLY);
    if (fd < 0 || fstat(fd, &facts)) {
        perror(argv[1]);
        return 1;
    }
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    while (read(fd, warm_up, sizeof(warm_up)) > 0)
        ;
    /* As a data base would: no read-ahead, each block for itself. */
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    blocks = facts.st_size / BLOCK;
    puts("ready");
    fflush(stdout);
    pause.tv_nsec = atol(argv[2]) * 1000;
    srandom(1);
    while (!ending) {
        read_block(fd, random() % blocks * BLOCK);
        if (report_wanted)
            report();
        nanosleep(&pause, NULL);
    }
    report();
    return 0;
}
