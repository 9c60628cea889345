/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a transport has agreed on with the receiver of a migration: written to
 * a file before the toolstack reads the banner (docs/spec/negotiation.md,
 * section 7).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#define FORMAT "format="

/* Its first line, without the newline; -1 with errno. */
static int read_line(const char *path, char *line, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), errnum;
    ssize_t r;

    if (fd < 0)
        return -1;
    r = read(fd, line, size - 1);
    errnum = errno;
    close(fd);
    errno = errnum;
    line[r < 0 ? 0 : r] = '\0';
    line[strcspn(line, "\n")] = '\0';
    return r < 0 ? -1 : 0;
}

enum v3_format negotiated_format(xentoollog_logger *lg)
{
    enum v3_format format;
    char line[64];

    if (read_line(environment.negotiated, line, sizeof(line)))
        report(lg, XTL_WARN, "sending v2: what was negotiated cannot be "
               "read: %s: %s", environment.negotiated, strerror(errno));
    else if (strncmp(line, FORMAT, strlen(FORMAT)) ||
             v3_format_parse(line + strlen(FORMAT), &format) ||
             format == V3_FORMAT_COMPAT)
        report(lg, XTL_WARN, "sending v2: \"%s\" in %s is nothing that is "
               "negotiated", line, environment.negotiated);
    else
        return format;
    /* Every receiver reads it, also one that has agreed to v3. */
    return V3_FORMAT_V2;
}
