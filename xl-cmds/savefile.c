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

const unsigned char libxl_head[LIBXL_HEAD_LENGTH] = {
    'L', 'i', 'b', 'x', 'l', 'F', 'm', 't', 0, 0, 0, 2,
    0,   0,   0,   0,   1,   0,   0,   0,   0, 0, 0, 0,
};

static int fail(struct savefile *file, int errnum, const char *what)
{
    file->error.errnum = errnum;
    snprintf(file->error.text, sizeof(file->error.text), "%s", what);
    return -1;
}

static bool is_seekable(const struct stat *st)
{
    return S_ISREG(st->st_mode) || S_ISBLK(st->st_mode);
}

static int refuse_kind(struct savefile *file)
{
    return fail(file, EINVAL, "neither a regular file nor a block device");
}

/* Where the libxl header lies behind a head that is not xl's. */
static uint64_t find_libxl(int fd)
{
    const size_t step = 1 << 20, overlap = LIBXL_HEAD_LENGTH - 1;
    unsigned char *buffer = xrealloc(NULL, step + overlap);
    uint64_t found = UINT64_MAX, base = 0;
    const unsigned char *at;
    ssize_t r;

    while (base < HEAD_LENGTH_MAX) {
        r = pread(fd, buffer, step + overlap, base);
        if (r < LIBXL_HEAD_LENGTH)
            break;
        at = memmem(buffer, r, libxl_head, LIBXL_HEAD_LENGTH);
        if (at) {
            found = base + (at - buffer);
            break;
        }
        base += r - overlap;
    }
    posix_fadvise(fd, 0, base + step + overlap, POSIX_FADV_DONTNEED);
    free(buffer);
    return found;
}

static bool has_xl_head(int fd)
{
    char magic[sizeof(((struct xensave_v2_xl_header *)0)->magic)];

    return pread(fd, magic, sizeof(magic), 0) == sizeof(magic) &&
           memcmp(magic, XENSAVE_V2_XL_MAGIC, sizeof(magic)) == 0;
}

int savefile_attach(struct savefile *file, const char *name, int fd)
{
    uint64_t libxl_offset = UINT64_MAX;
    struct stat st;
    int rc = -1;

    memset(file, 0, sizeof(*file));
    file->name = name;
    file->fd = fd;
    if (fstat(fd, &st) < 0) {
        fail(file, errno, strerror(errno));
        goto out;
    }
    if (!is_seekable(&st)) {
        refuse_kind(file);
        goto out;
    }
    file->opened = true;
    if (!has_xl_head(fd)) {
        libxl_offset = find_libxl(fd);
        if (libxl_offset == UINT64_MAX) {
            fail(file, EBADMSG,
                 "not a Xen save file: neither xl's header at "
                 "offset 0 nor a libxl header behind another");
            goto out;
        }
    }
    rc = xensave_file_probe(fd, libxl_offset, &file->probed, &file->error);

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
        return fail(file, errno, strerror(errno));
    /* A FIFO is not even opened: its writer would write to nobody. */
    if (!is_seekable(&st))
        return refuse_kind(file);
    /* With an offset of its own. */
    fd = standard ? fd_reopen(STDIN_FILENO, flags) : open(name, flags);
    return fd < 0 ? fail(file, errno, strerror(errno))
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
        if (!has_xl_head(fd))
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
