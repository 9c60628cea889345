/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Marks in the record of a disk's writes: a block behind the filesystem,
 * written past the page cache and without a flush, so that nothing else on
 * the disk changes by it.  POWERCUT_MARK=DEVICE:OFFSET says where.
 */
#ifndef POWERCUT_MARK_H
#define POWERCUT_MARK_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MARK_MAGIC "POWERCUT"
#define MARK_SIZE  512

struct mark {
    char magic[8];
    uint64_t time_ns; /* CLOCK_MONOTONIC */
    char text[MARK_SIZE - 16];
};

static inline int mark_open(off_t *offset)
{
    const char *where = getenv("POWERCUT_MARK"), *colon;
    char device[64];

    colon = where ? strrchr(where, ':') : NULL;
    if (!colon || colon - where >= (int)sizeof(device))
        return -1;
    snprintf(device, sizeof(device), "%.*s", (int)(colon - where), where);
    *offset = strtoll(colon + 1, NULL, 10);
    return open(device, O_WRONLY | O_DIRECT | O_CLOEXEC);
}

static inline int mark_write(int fd, off_t offset, const char *text)
{
    static struct mark mark __attribute__((aligned(4096)));
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    memset(&mark, 0, sizeof(mark));
    memcpy(mark.magic, MARK_MAGIC, sizeof(mark.magic));
    mark.time_ns = now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
    snprintf(mark.text, sizeof(mark.text), "%s", text);
    return pwrite(fd, &mark, sizeof(mark), offset) == sizeof(mark) ? 0 : -1;
}

#endif /* POWERCUT_MARK_H */
