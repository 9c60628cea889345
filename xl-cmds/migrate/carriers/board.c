/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "carrier.h"

static struct board *map(int fd)
{
    struct board *board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
                               MAP_SHARED, fd, 0);

    return board == MAP_FAILED ? NULL : board;
}

struct board *board_create(char path[FD_PATH])
{
    struct board *board = NULL;
    int fd = fd_shared_memory("xl-aligned", sizeof(*board), path);

    if (fd >= 0)
        board = map(fd);
    /* The fd stays open: the path leads through it. */
    if (!board && fd >= 0)
        close(fd);
    return board;
}

struct board *board_open(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct board *board = NULL;
    struct stat st;

    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0 && st.st_size == sizeof(*board))
        board = map(fd);
    close(fd);
    return board;
}

void board_negotiated(struct board *board, unsigned version, uint64_t features)
{
    snprintf(board->plugin.negotiated, sizeof(board->plugin.negotiated),
             "format=v%u\nfeatures=0x%" PRIx64 "\n", version, features);
}
