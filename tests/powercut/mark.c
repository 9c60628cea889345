/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mark TEXT        writes a mark
 * mark -t MS       writes the mark "tick" every MS milliseconds
 */
#include "mark.h"

static int tick(int fd, off_t offset, long ms)
{
    const struct timespec interval = { ms / 1000, ms % 1000 * 1000000 };

    while (mark_write(fd, offset, "tick") == 0)
        nanosleep(&interval, NULL);
    return -1;
}

int main(int argc, char **argv)
{
    off_t offset = 0;
    int fd = mark_open(&offset), r = -1;

    if (fd < 0) {
        perror("mark: POWERCUT_MARK");
        return 1;
    }
    if (argc == 3 && strcmp(argv[1], "-t") == 0)
        r = tick(fd, offset, strtol(argv[2], NULL, 10));
    else if (argc == 2)
        r = mark_write(fd, offset, argv[1]);
    if (r)
        perror("mark");
    return r ? 1 : 0;
}
