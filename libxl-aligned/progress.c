/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The page in which an operation says how far it is: the one that the command
 * which started this program looks at, or one of its own.
 */
#include <stdatomic.h>

#include "internal.h"

/* The command has started this program for one operation. */
static struct v3_progress *given(char path[V3_PROGRESS_PATH])
{
    static atomic_flag taken = ATOMIC_FLAG_INIT;
    struct v3_progress *page;

    if (!environment.progress ||
        strlen(environment.progress) >= V3_PROGRESS_PATH ||
        /* It is handed on in one text with others. */
        strpbrk(environment.progress, ";=") ||
        atomic_flag_test_and_set(&taken))
        return NULL;
    page = v3_progress_map(environment.progress);
    if (page)
        strcpy(path, environment.progress);
    return page;
}

struct v3_progress *progress_open(char path[V3_PROGRESS_PATH], int *fd)
{
    struct v3_progress *page = given(path);

    *fd = -1;
    return page ? page
                : v3_progress_create("libxl-aligned progress", path, fd);
}

void progress_close(struct v3_progress *page, int fd)
{
    if (page)
        munmap(page, V3_PROGRESS_LENGTH);
    if (fd >= 0)
        close(fd);
}
