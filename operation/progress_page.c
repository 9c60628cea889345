/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "operation.h"

#define MAGIC "XLAPROG1"

static struct progress_page *map(int fd)
{
    void *page = mmap(NULL, PROGRESS_LENGTH, PROT_READ | PROT_WRITE,
                      MAP_SHARED, fd, 0);

    return page == MAP_FAILED ? NULL : page;
}

static bool is_page(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_size == PROGRESS_LENGTH &&
           st->st_uid == geteuid();
}

struct progress_page *progress_page_map(const char *path)
{
    struct progress_page *page = NULL;
    struct stat st;
    int fd, seals;

    /* Looked at first: opening a device may do something. */
    if (!path || stat(path, &st) || !is_page(&st))
        return NULL;
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return NULL;
    seals = fcntl(fd, F_GET_SEALS);
    if (!fstat(fd, &st) && is_page(&st) && seals >= 0 &&
        (seals & FD_SHARED_SEALS) == FD_SHARED_SEALS)
        page = map(fd);
    close(fd);
    if (page && memcmp(page->magic, MAGIC, sizeof(page->magic))) {
        munmap(page, PROGRESS_LENGTH);
        page = NULL;
    }
    return page;
}

struct progress_page *progress_page_create(const char *name,
                                           char path[FD_PATH], int *fd)
{
    struct progress_page *page;

    *fd = fd_shared_memory(name, PROGRESS_LENGTH, path);
    if (*fd < 0)
        return NULL;
    page = map(*fd);
    if (!page) {
        close(*fd);
        *fd = -1;
        return NULL;
    }
    memcpy(page->magic, MAGIC, sizeof(page->magic));
    return page;
}
