/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes a saved file final.  Only when all of this has succeeded may the
 * toolstack destroy the domain.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

int reopen(int fd, int flags)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, flags | O_CLOEXEC);
}

int commit_file(int fd, uint64_t libxl_offset, uint64_t file_length,
                enum v3_format format, xentoollog_logger *lg)
{
    struct v3_savefile savefile;
    struct v3_error error = { 0 };

    if (v3_savefile_probe(fd, libxl_offset, &savefile, &error) ||
        v3_savefile_commit(fd, &savefile, file_length, &error)) {
        report(lg, XTL_ERROR, "not saved: %s", error.text);
        return ERROR_FAIL;
    }
    /* AppArmor may keep LD_PRELOAD from what libvirt's daemon starts. */
    if (savefile.format != format)
        report(lg, XTL_WARN, "saved as %s, not %s: the save helper ran "
               "without its library", v3_format_name(savefile.format),
               v3_format_name(format));
    return 0;
}

/*
 * Where a file is found now: its name in an open folder, so that nobody who
 * moves folders about can make a rename or a removal reach into others.
 */
struct place {
    int folder;
    bool readable;          /* if not, only names can be looked up in it */
    char *base;             /* in path */
    char path[PATH_MAX];
};

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static void place_leave(struct place *place)
{
    int errnum = errno;

    if (place->folder >= 0)
        close(place->folder);
    place->folder = -1;
    errno = errnum;
}

/* -1 with errno; nothing is left open then. */
static int place_find(int fd, struct place *place)
{
    struct stat own, named;
    char link[64], folder[PATH_MAX];
    ssize_t r;

    place->folder = -1;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    r = readlink(link, place->path, sizeof(place->path) - 1);
    if (r < 0)
        return -1;
    place->path[r] = '\0';
    memcpy(folder, place->path, r + 1);
    place->base = strrchr(place->path, '/');
    /* Neither a pipe nor the like has a name. */
    if (!place->base || !*++place->base) {
        errno = ESTALE;
        return -1;
    }
    dirname(folder);
    place->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    place->readable = place->folder >= 0;
    /* As root is nobody's on NFS: it may write, and not read. */
    if (!place->readable && errno == EACCES)
        place->folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (place->folder < 0)
        return -1;
    if (!fstat(fd, &own) && !fstatat(place->folder, place->base, &named,
                                     AT_SYMLINK_NOFOLLOW)) {
        if (same(&own, &named))
            return 0;
        errno = ESTALE;
    }
    place_leave(place);
    return -1;
}

/* `fd`: of the file. */
static int place_sync(const struct place *place, int fd)
{
    int r = place->readable ? fsync(place->folder) : syncfs(fd);

    /* Not every filesystem can: then nobody else does better. */
    return r && errno != EINVAL ? -1 : 0;
}

static bool is_folder_of(const struct place *place, const char *name)
{
    struct stat here, there;
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s", name);
    return !fstat(place->folder, &here) && !stat(dirname(path), &there) &&
           same(&here, &there);
}

/*
 * An earlier file of that name is kept, under the temporary name, until the
 * folder is on stable storage.
 */
static int give_name(const struct place *place, const char *base,
                     bool *exchanged)
{
    struct stat st;

    *exchanged = !fstatat(place->folder, base, &st, AT_SYMLINK_NOFOLLOW) &&
                 S_ISREG(st.st_mode) &&
                 !renameat2(place->folder, place->base, place->folder, base,
                            RENAME_EXCHANGE);
    return *exchanged ? 0 : renameat(place->folder, place->base,
                                     place->folder, base);
}

static void take_name_back(const struct place *place, const char *base,
                           bool exchanged)
{
    if (exchanged)
        (void)renameat2(place->folder, base, place->folder, place->base,
                        RENAME_EXCHANGE);
    else
        (void)renameat(place->folder, base, place->folder, place->base);
}

int commit_rename(int fd, const char *name, xentoollog_logger *lg)
{
    const char *slash = strrchr(name, '/');
    const char *base = slash ? slash + 1 : name;
    struct place place;
    bool exchanged;
    int rc = ERROR_FAIL;

    if (place_find(fd, &place)) {
        report(lg, XTL_ERROR, "not saved: the file for %s has lost its name: "
               "%s", name, strerror(errno));
        return ERROR_FAIL;
    }
    if (!is_folder_of(&place, name)) {
        report(lg, XTL_ERROR, "not saved: %s is not in the folder of %s",
               place.path, name);
        goto out;
    }
    if (give_name(&place, base, &exchanged)) {
        report(lg, XTL_ERROR, "not saved: rename %s to %s: %s", place.path,
               name, strerror(errno));
        goto out;
    }
    if (place_sync(&place, fd)) {
        report(lg, XTL_ERROR, "not saved: fsync of the folder of %s: %s",
               name, strerror(errno));
        /* The domain runs on: a save file of its past must not stay. */
        take_name_back(&place, base, exchanged);
        goto out;
    }
    if (exchanged && strcmp(place.base, base))
        unlinkat(place.folder, place.base, 0);
    rc = 0;

out:
    place_leave(&place);
    return rc;
}

int commit_folder(int fd, xentoollog_logger *lg)
{
    struct place place;
    int rc = 0;

    /* Whoever took the name away does not need it. */
    if (place_find(fd, &place))
        return 0;
    if (place_sync(&place, fd)) {
        report(lg, XTL_ERROR, "not saved: fsync of the folder of %s: %s",
               place.path, strerror(errno));
        rc = ERROR_FAIL;
    }
    place_leave(&place);
    return rc;
}

void commit_discard(int fd)
{
    struct place place;

    if (place_find(fd, &place))
        return;
    unlinkat(place.folder, place.base, 0);
    place_leave(&place);
}
