/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The init of a guest that is dumped: puts a pattern into a page, says on the
 * console which frame that is, and keeps busy with some memory.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#define PAGE 4096UL
#define TEXT "A page of known contents at a known place. "
#define BUSY (24UL << 20)

static uint64_t frame_of(const void *address)
{
    int fd = open("/proc/self/pagemap", O_RDONLY);
    uint64_t entry = 0;

    if (pread(fd, &entry, sizeof(entry),
              (uintptr_t)address / PAGE * sizeof(entry)) != sizeof(entry) ||
        !(entry >> 63))
        return 0;
    close(fd);
    return entry & ((1ULL << 55) - 1);
}

int main(void)
{
    char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t *busy = malloc(BUSY);

    setvbuf(stdout, NULL, _IOLBF, 0);
    mount("proc", "/proc", "proc", 0, NULL);
    for (size_t i = 0; i < PAGE; i++)
        page[i] = TEXT[i % strlen(TEXT)];
    mlock(page, PAGE);
    printf("pattern at frame %" PRIx64 "\n", frame_of(page));
    for (uint64_t round = 1;; round++) {
        for (size_t i = 0; i < BUSY / sizeof(*busy); i++)
            busy[i] = i * 0x9e3779b97f4a7c15ULL + round;
        printf("round %" PRIu64 "\n", round);
        usleep(200000);
    }
}
