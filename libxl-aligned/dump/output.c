/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The output file of a dump: common/partial, with messages. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dump.h"

/* The toolstack cannot ask first: an existing core is replaced. */
static const struct partial_kind kind = {
    .what = "core",
    .look = core_look,
    .force = true,
};

static int fail(const struct output *output, const char *reason)
{
    int errnum = errno;

    report(NULL, XTL_ERROR, "cannot dump to %s: %s", output->name, reason);
    errno = errnum;
    return -1;
}

static int fail_errno(const struct output *output, const char *what)
{
    char reason[256];

    snprintf(reason, sizeof(reason), "%s: %s", what, strerror(errno));
    return fail(output, reason);
}

/* A device, pipe or the like, found by an O_PATH descriptor. */
static int open_in_place(struct output *output)
{
    int fd = fd_reopen(output->file.fd, O_WRONLY);

    if (fd < 0)
        return fail_errno(output, "open");
    close(output->file.fd);
    output->file.fd = fd;
    /* For example /dev/stdout, which stock truncates too. */
    if (S_ISREG(output->file.st.st_mode) && ftruncate(fd, 0))
        return fail_errno(output, "truncate");
    return 0;
}

int output_open(struct output *output, const char *name)
{
    output->name = name;
    if (partial_open(&output->file, name, &kind))
        return fail(output, output->file.reason);
    if (output->file.in_place && open_in_place(output)) {
        partial_close(&output->file);
        return -1;
    }
    partial_signals_begin(&output->file);
    return 0;
}

int output_commit(struct output *output)
{
    if (xensave_fd_sync(output->file.fd))
        return fail_errno(output, "fsync");
    posix_fadvise(output->file.fd, 0, 0, POSIX_FADV_DONTNEED);
    if (!output->file.in_place && partial_rename(&output->file))
        return fail(output, output->file.reason);
    return 0;
}

void output_close(struct output *output)
{
    int errnum = errno;

    partial_discard(&output->file);
    partial_signals_end(&output->file);
    partial_close(&output->file);
    errno = errnum;
}

bool output_name(const struct output *output, char name[PARTIAL_PATH])
{
    const struct partial *file = &output->file;

    if (!file->in_place) {
        partial_path(file, file->base, name);
        return true;
    }
    if (S_ISFIFO(file->st.st_mode) || S_ISSOCK(file->st.st_mode))
        return false;
    return fd_read_name(file->fd, name, PARTIAL_PATH) >= 0;
}
