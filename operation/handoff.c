/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handoff.h"
#include "xenstore.h"

#define MAGIC "XLAPROG1"

static struct handoff *map(int fd)
{
    void *page = mmap(NULL, HANDOFF_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                      fd, 0);

    return page == MAP_FAILED ? NULL : page;
}

static bool is_page(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_size == HANDOFF_SIZE &&
           st->st_uid == geteuid();
}

struct handoff *handoff_map(const char *path)
{
    struct handoff *page = NULL;
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
        munmap(page, HANDOFF_SIZE);
        page = NULL;
    }
    return page;
}

struct handoff *handoff_create(const char *name, char path[FD_PATH], int *fd)
{
    struct handoff *page;

    *fd = fd_shared_memory(name, HANDOFF_SIZE, path);
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

/* ---- the helper ---------------------------------------------------------- */

void handoff_enter(struct handoff *handoff)
{
    struct process self;

    if (process_of(getpid(), &self))
        return;
    atomic_store(&handoff->helper_start, self.start);
    atomic_store(&handoff->helper_pid, self.pid);
}

void handoff_helper(const struct handoff *handoff, struct process *process)
{
    process->pid = atomic_load(&handoff->helper_pid);
    process->start = atomic_load(&handoff->helper_start);
}
