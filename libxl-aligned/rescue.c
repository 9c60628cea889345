/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt removes a managed save before it restores it: after a failure what
 * is behind the descriptor is the only copy of the guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "report.h"
#include "restore.h"

#define DELETED " (deleted)"
#define NAMES   100 /* NAME.kept.1 and so on */
#define CHUNK   (1 << 20)

struct rescue {
    int from, to, folder;
    struct stat st;
    char path[PATH_MAX];     /* as it was */
    char *base;              /* in path */
    char name[NAME_MAX + 1]; /* in the folder, where the copy is now */
};

static int find_place(struct rescue *rescue, int fd)
{
    size_t length;

    if (fd_read_name(fd, rescue->path, sizeof(rescue->path)) < 0)
        return -1;
    length = strlen(rescue->path);
    if (length <= strlen(DELETED) || rescue->path[0] != '/' ||
        strcmp(rescue->path + length - strlen(DELETED), DELETED)) {
        errno = ESTALE;
        return -1;
    }
    rescue->path[length - strlen(DELETED)] = '\0';
    rescue->base = strrchr(rescue->path, '/') + 1;
    rescue->base[-1] = '\0';
    rescue->folder = open(rescue->path[0] ? rescue->path : "/",
                          O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rescue->base[-1] = '/';
    return rescue->folder < 0 ? -1 : 0;
}

/* Beside the old name, so that half a copy never has that one. */
static int create(struct rescue *rescue)
{
    struct stat st;
    int i, r;

    for (i = 0; i < NAMES && rescue->to < 0; i++) {
        r = snprintf(rescue->name, sizeof(rescue->name),
                     i ? "%s.kept.%d" : "%s.kept", rescue->base, i);
        if (r >= (int)sizeof(rescue->name)) {
            errno = ENAMETOOLONG;
            break;
        }
        rescue->to = openat(rescue->folder, rescue->name,
                            O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (rescue->to < 0 && errno != EEXIST)
            break;
    }
    if (rescue->to < 0)
        return -1;
    /* memfd's "folder" is the root, and something may be mounted there. */
    if (!fstat(rescue->to, &st) && st.st_dev == rescue->st.st_dev)
        return 0;
    errno = EXDEV;
    return -1;
}

static int copy(const struct rescue *rescue, struct xensave_error *error)
{
    const struct xensave_io_options options = {
        .size = sizeof(struct xensave_io_options),
        .reserve = rescue->st.st_size
    };
    struct xensave_source *source = NULL;
    struct xensave_sink *sink = NULL;
    uint64_t left = rescue->st.st_size;
    void *chunk = NULL;
    size_t length;
    int r = -1;

    if (!ioctl(rescue->to, FICLONE, rescue->from))
        return 0;
    source = xensave_source_open_file(rescue->from, &options, error);
    if (source)
        sink = xensave_sink_open_file(rescue->to, &options, error);
    if (!sink)
        goto out;
    chunk = malloc(CHUNK);
    if (!chunk)
        goto out;
    for (; left; left -= length) {
        length = left < CHUNK ? left : CHUNK;
        if (xensave_source_read(source, chunk, length) ||
            xensave_sink_write(sink, chunk, length))
            goto out;
    }
    r = xensave_sink_finish(sink);

out:
    free(chunk);
    xensave_sink_free(sink);
    xensave_source_free(source);
    return r;
}

/* What has the name meanwhile keeps it. */
static int give_old_name(struct rescue *rescue)
{
    int r = renameat2(rescue->folder, rescue->name, rescue->folder,
                      rescue->base, RENAME_NOREPLACE);

    /* Not every filesystem has that. */
    if (r && (errno == EINVAL || errno == ENOSYS)) {
        r = linkat(rescue->folder, rescue->name, rescue->folder, rescue->base,
                   0);
        if (!r)
            (void)unlinkat(rescue->folder, rescue->name, 0);
    }
    if (!r)
        snprintf(rescue->name, sizeof(rescue->name), "%s", rescue->base);
    return r;
}

static int copy_beside(struct rescue *rescue, int fd,
                       struct xensave_error *error)
{
    if (find_place(rescue, fd) || create(rescue))
        return -1;
    rescue->from = fd_reopen(fd, O_RDONLY);
    if (rescue->from < 0 || copy(rescue, error))
        return -1;
    return fsync(rescue->to);
}

/* NULL, with the file in its place all the same: no memory. */
static char *put_back(struct rescue *rescue, xentoollog_logger *lg)
{
    int folder = rescue->base - rescue->path;
    char *path;

    if (give_old_name(rescue))
        report(lg, XTL_ERROR,
               "%s had been removed before it was restored: "
               "its contents are now in %.*s%s, since it cannot get its name "
               "back: %s",
               rescue->path, folder, rescue->path, rescue->name,
               strerror(errno));
    else
        report(lg, XTL_WARN,
               "%s had been removed before it was restored: "
               "its contents are there again",
               rescue->path);
    if (fsync(rescue->folder) && errno != EINVAL)
        report(lg, XTL_ERROR, "fsync of the folder of %s: %s", rescue->path,
               strerror(errno));
    if (asprintf(&path, "%.*s%s", folder, rescue->path, rescue->name) < 0)
        return NULL;
    return path;
}

/* The only copy must not go with the caller's descriptor. */
static void keep_open(int fd, const struct xensave_error *error,
                      xentoollog_logger *lg)
{
    const char *why = error->text[0] ? error->text : strerror(errno);
    char path[PATH_MAX], kept_path[FD_PATH];
    int kept;

    fd_name(fd, path, sizeof(path));
    kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    fd_path_global(kept, kept_path);
    if (kept < 0)
        report(lg, XTL_ERROR, "%s: its contents are lost: %s", path, why);
    else
        report(lg, XTL_ERROR,
               "%s: its contents cannot be put back: %s; "
               "copy them from %s while this process runs",
               path, why, kept_path);
}

char *rescue_file(int fd, xentoollog_logger *lg)
{
    struct rescue rescue = { .from = -1, .to = -1, .folder = -1 };
    struct xensave_error error = { 0 };
    char *path = NULL;

    if (fstat(fd, &rescue.st) || !S_ISREG(rescue.st.st_mode) ||
        rescue.st.st_nlink)
        return NULL;
    if (!copy_beside(&rescue, fd, &error)) {
        path = put_back(&rescue, lg);
    } else {
        keep_open(fd, &error, lg);
        if (rescue.to >= 0)
            (void)unlinkat(rescue.folder, rescue.name, 0);
    }
    if (rescue.from >= 0)
        close(rescue.from);
    if (rescue.to >= 0)
        close(rescue.to);
    if (rescue.folder >= 0)
        close(rescue.folder);
    return path;
}
