/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "savefile.h"
#include "stream-v3/savefile/walk.h"

#define CONFIG_LENGTH_MAX (16U << 20)

static bool is_seekable(const struct stat *st)
{
    return S_ISREG(st->st_mode) || S_ISBLK(st->st_mode);
}

static int refuse_kind(struct savefile *file)
{
    return xensave_fail(&file->error, EINVAL,
                        "neither a regular file nor a block device");
}

int savefile_attach(struct savefile *file, const char *name, int fd)
{
    struct stat st;
    int rc = -1;

    memset(file, 0, sizeof(*file));
    file->name = name;
    file->fd = fd;
    if (fstat(fd, &st) < 0) {
        xensave_fail(&file->error, errno, "%s", strerror(errno));
        goto out;
    }
    if (!is_seekable(&st)) {
        refuse_kind(file);
        goto out;
    }
    file->opened = true;
    rc = xensave_file_probe(fd, XENSAVE_LIBXL_SEARCH, &file->probed,
                            &file->error);

out:
    if (rc)
        savefile_close(file);
    return rc;
}

int savefile_open(struct savefile *file, const char *name)
{
    const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    bool standard = is_standard(name);
    struct stat st;
    int fd;

    memset(file, 0, sizeof(*file));
    file->name = standard ? "standard input" : name;
    file->fd = -1;
    if (standard ? fstat(STDIN_FILENO, &st) : stat(name, &st))
        return xensave_fail(&file->error, errno, "%s", strerror(errno));
    /* A FIFO is not opened: its writer would lose what it writes. */
    if (!is_seekable(&st))
        return refuse_kind(file);
    /* With an offset of its own. */
    fd = standard ? fd_reopen(STDIN_FILENO, flags) : open(name, flags);
    return fd < 0 ? xensave_fail(&file->error, errno, "%s", strerror(errno))
                  : savefile_attach(file, file->name, fd);
}

void savefile_config(const struct savefile *file, struct domain_config *config)
{
    const struct xensave_file *probed = &file->probed;
    uint64_t length = probed->config_length;
    unsigned char *text;

    config_parse(config, (const unsigned char *)"", 0);
    if (!probed->xl_head || !length || length > CONFIG_LENGTH_MAX)
        return;
    text = xrealloc(NULL, length);
    if (pread(file->fd, text, length, probed->config_offset) ==
        (ssize_t)length)
        config_parse(config, text, length);
    free(text);
}

/* Space was reserved for what comes next, and it did not come. */
static bool is_reserved(const struct savefile *file, int fd)
{
    static const char unwritten[sizeof(struct xensave_v2_image_header)];
    char data[sizeof(unwritten)];
    uint64_t at = file->probed.stream_start;

    if (!at)
        at = file->probed.libxl_offset;
    return at && pread(fd, data, sizeof(data), at) == sizeof(data) &&
           memcmp(data, unwritten, sizeof(data)) == 0;
}

static bool is_cut_off(struct savefile *file)
{
    struct xensave_walk *walk = xensave_walk_new(file->fd, &file->probed,
                                                 &file->error);
    struct xensave_record record;

    while (walk && xensave_walk_next(walk, &record) > 0)
        ;
    xensave_walk_free(walk);
    return file->error.errnum == ENODATA;
}

enum partial_contents savefile_look(int fd)
{
    struct savefile file;
    bool unfinished;

    if (savefile_attach(&file, "", fcntl(fd, F_DUPFD_CLOEXEC, 3))) {
        if (!file.probed.xl_head)
            return PARTIAL_FOREIGN;
        unfinished = file.error.errnum == ENODATA || is_reserved(&file, fd);
    } else {
        unfinished = (file.probed.format == XENSAVE_FORMAT_V3 &&
                      file.probed.header.state == XENSAVE_STATE_UNFINISHED) ||
                     is_cut_off(&file);
    }
    savefile_close(&file);
    return unfinished ? PARTIAL_UNFINISHED : PARTIAL_USABLE;
}

void savefile_close(struct savefile *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}
