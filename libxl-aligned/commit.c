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
                xentoollog_logger *lg)
{
    struct v3_savefile savefile;
    struct v3_error error = { 0 };

    if (v3_savefile_probe(fd, libxl_offset, &savefile, &error) ||
        v3_savefile_commit(fd, &savefile, file_length, &error)) {
        report(lg, XTL_ERROR, "not saved: %s", error.text);
        return ERROR_FAIL;
    }
    return 0;
}

/* The name under which the file behind `fd` is found now. */
static int name_of(int fd, char path[PATH_MAX])
{
    struct stat own, named;
    char link[64];
    ssize_t r;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    r = readlink(link, path, PATH_MAX - 1);
    if (r < 0)
        return -1;
    path[r] = '\0';
    if (fstat(fd, &own) || lstat(path, &named))
        return -1;
    if (own.st_dev != named.st_dev || own.st_ino != named.st_ino) {
        errno = ESTALE;
        return -1;
    }
    return 0;
}

static int sync_folder(const char *name)
{
    char path[PATH_MAX];
    int folder, r, errnum;

    snprintf(path, sizeof(path), "%s", name);
    folder = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return -1;
    r = fsync(folder);
    errnum = errno;
    close(folder);
    errno = errnum;
    return r;
}

/*
 * An earlier file of that name is kept, under the temporary name, until the
 * folder is on stable storage.
 */
static int give_name(const char *path, const char *name, bool *exchanged)
{
    struct stat st;

    *exchanged = !lstat(name, &st) && S_ISREG(st.st_mode) &&
                 !renameat2(AT_FDCWD, path, AT_FDCWD, name, RENAME_EXCHANGE);
    return *exchanged ? 0 : rename(path, name);
}

static void take_name_back(const char *path, const char *name,
                           bool exchanged)
{
    if (exchanged)
        (void)renameat2(AT_FDCWD, name, AT_FDCWD, path, RENAME_EXCHANGE);
    else
        (void)rename(name, path);
}

int commit_rename(int fd, const char *name, xentoollog_logger *lg)
{
    char path[PATH_MAX];
    bool exchanged;

    if (name_of(fd, path)) {
        report(lg, XTL_ERROR, "not saved: the file for %s has lost its name: "
               "%s", name, strerror(errno));
        return ERROR_FAIL;
    }
    if (!strcmp(path, name))
        return 0;
    if (give_name(path, name, &exchanged)) {
        report(lg, XTL_ERROR, "not saved: rename %s to %s: %s", path, name,
               strerror(errno));
        return ERROR_FAIL;
    }
    if (sync_folder(name)) {
        report(lg, XTL_ERROR, "not saved: fsync of the folder of %s: %s",
               name, strerror(errno));
        /* The domain runs on: a save file of its past must not stay. */
        take_name_back(path, name, exchanged);
        return ERROR_FAIL;
    }
    if (exchanged)
        unlink(path);
    return 0;
}

void commit_discard(int fd)
{
    char path[PATH_MAX];

    if (!name_of(fd, path))
        unlink(path);
}
