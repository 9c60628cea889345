/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The page in which an operation says how far it is: the one that the command
 * which started this program looks at, or one of its own.
 */
#include <stdatomic.h>

#include "internal.h"

/* The command has started this program for one operation. */
static struct progress_page *given(char path[FD_PATH])
{
    static atomic_flag taken = ATOMIC_FLAG_INIT;
    struct progress_page *page;

    if (!environment.progress || strlen(environment.progress) >= FD_PATH ||
        /* It is handed on in one text with others. */
        strpbrk(environment.progress, ";=") ||
        atomic_flag_test_and_set(&taken))
        return NULL;
    page = progress_page_map(environment.progress);
    if (page)
        strcpy(path, environment.progress);
    return page;
}

struct progress_page *progress_open(char path[FD_PATH], int *fd)
{
    struct progress_page *page = given(path);

    *fd = -1;
    return page ? page
                : progress_page_create("libxl-aligned progress", path, fd);
}

void progress_close(struct progress_page *page, int fd)
{
    if (page)
        munmap(page, PROGRESS_LENGTH);
    if (fd >= 0)
        close(fd);
}
