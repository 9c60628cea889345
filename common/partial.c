/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "directory.h"
#include "fd.h"
#include "partial.h"

#define LINKS_MAX 8
#define TRIES     8
/* Headers of file systems and volumes lie within this. */
#define BLANK (1U << 20)

static int __attribute__((format(printf, 3, 4)))
fail(struct partial *partial, int errnum, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vsnprintf(partial->reason, sizeof(partial->reason), format, ap);
    va_end(ap);
    errno = errnum;
    return -1;
}

static int fail_errno(struct partial *partial)
{
    return fail(partial, errno, "%s", strerror(errno));
}

bool partial_is(const struct partial *partial, const char *base)
{
    struct stat st;

    return fstatat(partial->dirfd, base, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           stat_same(&st, &partial->st);
}

void partial_path(const struct partial *partial, const char *base,
                  char path[PARTIAL_PATH])
{
    snprintf(path, PARTIAL_PATH, "%s%s%s", partial->directory,
             partial->directory[1] ? "/" : "", base);
}

/* ---- finding the place -------------------------------------------------- */

/* Sets dirfd and base to what `name` says, seen from dirfd if it is open. */
static int enter(struct partial *partial, const char *name)
{
    const char *slash = strrchr(name, '/');
    const char *base = slash ? slash + 1 : name;
    char directory[PATH_MAX];
    int fd;

    if (!*base || !strcmp(base, ".") || !strcmp(base, ".."))
        return fail(partial, EISDIR,
                    "names a directory; give the name of a file");
    if (snprintf(directory, sizeof(directory), "%.*s",
                 slash ? (int)(slash - name + 1) : 1,
                 slash ? name : ".") >= (int)sizeof(directory) ||
        strlen(base) + sizeof(PARTIAL_SUFFIX) > sizeof(partial->temporary))
        return fail(partial, ENAMETOOLONG, "%s", strerror(ENAMETOOLONG));
    fd = directory_open(partial->dirfd >= 0 ? partial->dirfd : AT_FDCWD,
                        directory);
    if (fd < 0 ||
        fd_read_name(fd, partial->directory, sizeof(partial->directory)) < 0) {
        fail(
            partial, errno, "directory %s: %s", directory,
            errno == EPERM
                ? "leads over another user's symbolic link; name the directory "
                  "itself"
                : strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    if (partial->dirfd >= 0)
        close(partial->dirfd);
    partial->dirfd = fd;
    strcpy(partial->base, base);
    strcpy(stpcpy(partial->temporary, base), PARTIAL_SUFFIX);
    return 0;
}

/* /dev/stdout and the like: links of the kernel's own, to open files. */
static bool is_magic(const struct partial *partial)
{
    struct statfs fs;

    return !fstatfs(partial->dirfd, &fs) && fs.f_type == PROC_SUPER_MAGIC;
}

static int follow_link(struct partial *partial)
{
    char to[PATH_MAX];
    ssize_t r;

    if (directory_is_shared(partial->dirfd))
        return fail(partial, EACCES,
                    "is or leads to a symbolic link in a "
                    "directory that others can write to; name the file "
                    "itself");
    r = readlinkat(partial->dirfd, partial->base, to, sizeof(to) - 1);
    if (r < 0)
        return fail_errno(partial);
    to[r] = '\0';
    return enter(partial, to);
}

/* ---- what is there ------------------------------------------------------ */

/* Of a device, the beginning tells: a new volume has no size of its own. */
static bool is_blank(int fd, const struct stat *st)
{
    char *data = malloc(BLANK);
    ssize_t r, i = 0;

    r = data ? pread(fd, data, BLANK, 0) : -1;
    while (i < r && !data[i])
        i++;
    free(data);
    return r >= 0 && i == r && (!S_ISREG(st->st_mode) || st->st_size <= r);
}

/* No file that can be recognised begins with zeros. */
static bool has_no_head(int fd)
{
    char head[16] = "";

    return pread(fd, head, sizeof(head), 0) >= 0 &&
           !memcmp(head, (const char[sizeof(head)]){ 0 }, sizeof(head));
}

/* `path_fd` is O_PATH: only what is a file or a device is opened. */
static int may_replace(struct partial *partial, int path_fd,
                       const struct stat *st, const struct partial_kind *kind)
{
    char why[256] = "";
    int fd, r = -1;

    if (kind->force)
        return 0;
    fd = fd_reopen(path_fd, O_RDONLY | O_NONBLOCK);
    if (fd < 0)
        return fail(partial, errno,
                    "cannot be examined: %s; --force "
                    "replaces it unread",
                    strerror(errno));
    if (is_blank(fd, st))
        r = 0;
    else if (!kind->what)
        fail(partial, EEXIST,
             "exists; give another name, or --force to "
             "replace it");
    else
        switch (kind->look(fd)) {
        case PARTIAL_FOREIGN:
            fail(partial, EEXIST,
                 "is not a %s; give another name, or "
                 "--force to replace it",
                 kind->what);
            break;
        case PARTIAL_UNFINISHED:
            r = 0;
            break;
        case PARTIAL_USABLE:
            if (!kind->may_go ||
                kind->may_go(fd, kind->context, why, sizeof(why)))
                r = 0;
            else
                fail(partial, EEXIST,
                     "%s; give another name, or --force to "
                     "replace it",
                     why);
            break;
        }
    close(fd);
    return r;
}

/*
 * 1: the name led elsewhere when it was opened than when it was looked up.
 * A link or a hard link that takes the place in between is never written to.
 */
static int open_in_place(struct partial *partial, const struct stat *seen,
                         const struct partial_kind *kind)
{
    bool magic = S_ISLNK(seen->st_mode);
    struct stat *st = &partial->st;

    partial->fd = openat(partial->dirfd, partial->base,
                         O_PATH | O_CLOEXEC | (magic ? 0 : O_NOFOLLOW));
    if (partial->fd < 0 || fstat(partial->fd, st) < 0)
        return fail_errno(partial);
    if (!magic && !stat_same(st, seen)) {
        close(partial->fd);
        partial->fd = -1;
        return 1;
    }
    if (S_ISDIR(st->st_mode))
        return fail(partial, EISDIR, "is a directory");
    if (!magic && directory_is_shared(partial->dirfd) &&
        ((st->st_uid != 0 && st->st_uid != geteuid()) || st->st_nlink != 1))
        return fail(partial, EACCES,
                    "belongs to another user, in a "
                    "directory that others can write to");
    partial->in_place = true;
    if (S_ISREG(st->st_mode) || S_ISBLK(st->st_mode))
        return may_replace(partial, partial->fd, st, kind);
    return 0;
}

static int look_at_file(struct partial *partial, const struct stat *seen,
                        const struct partial_kind *kind)
{
    struct stat st;
    int r, fd;

    fd = openat(partial->dirfd, partial->base,
                O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st))
        r = fail_errno(partial);
    else if (!stat_same(&st, seen))
        r = 1;
    else
        r = may_replace(partial, fd, &st, kind);
    if (fd >= 0)
        close(fd);
    return r;
}

/* One step; 1: there is another to take. */
static int step(struct partial *partial, const struct partial_kind *kind,
                int *links)
{
    struct stat st;

    if (fstatat(partial->dirfd, partial->base, &st, AT_SYMLINK_NOFOLLOW))
        return errno == ENOENT ? 0 : fail_errno(partial);
    if (S_ISREG(st.st_mode))
        return look_at_file(partial, &st, kind);
    if (!S_ISLNK(st.st_mode) || is_magic(partial))
        return open_in_place(partial, &st, kind);
    if ((*links)++ == LINKS_MAX)
        return fail(partial, ELOOP, "%s", strerror(ELOOP));
    return follow_link(partial) ? -1 : 1;
}

static int find(struct partial *partial, const char *name,
                const struct partial_kind *kind)
{
    int tries, links = 0, r;

    *partial = (struct partial)PARTIAL_INIT;
    r = enter(partial, name);
    for (tries = 0; !r && tries < LINKS_MAX + TRIES; tries++) {
        r = step(partial, kind, &links);
        if (r <= 0)
            return r;
        r = 0;
    }
    return r ? r
             : fail(partial, EAGAIN,
                    "is being replaced by another "
                    "process again and again");
}

/* ---- NAME.partial ------------------------------------------------------- */

/* What an earlier run left is removed if it is of no use. */
static int remove_stale(struct partial *partial,
                        const struct partial_kind *kind)
{
    char path[PARTIAL_PATH];
    int fd = -1, r = -1, found;

    partial_path(partial, partial->temporary, path);
    found = openat(partial->dirfd, partial->temporary,
                   O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (found < 0 || fstat(found, &partial->st) ||
        !S_ISREG(partial->st.st_mode) || partial->st.st_uid != geteuid() ||
        partial->st.st_nlink != 1 || (fd = fd_reopen(found, O_RDONLY)) < 0)
        fail(partial, EEXIST,
             "%s is in the way and not a file that an "
             "earlier run left; remove it, or give another name",
             path);
    else if (flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        fail(partial, EBUSY, "%s is being written by another process", path);
    else if (!is_blank(fd, &partial->st) &&
             (!kind->what ||
              (!has_no_head(fd) && kind->look(fd) != PARTIAL_UNFINISHED)))
        fail(partial, EEXIST,
             "%s may be whole, and the only copy; rename "
             "it to keep it, or remove it",
             path);
    else if (!partial_is(partial, partial->temporary) ||
             unlinkat(partial->dirfd, partial->temporary, 0))
        fail(partial, errno, "%s cannot be removed: %s", path,
             strerror(errno));
    else
        r = 0;
    if (fd >= 0)
        close(fd);
    if (found >= 0)
        close(found);
    partial->removed = !r;
    return r;
}

static int create(struct partial *partial, const struct partial_kind *kind)
{
    const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int r;

    partial->fd = openat(partial->dirfd, partial->temporary, flags, 0600);
    if (partial->fd < 0 && errno == EEXIST) {
        if (remove_stale(partial, kind))
            return -1;
        partial->fd = openat(partial->dirfd, partial->temporary, flags, 0600);
    }
    if (partial->fd < 0)
        return fail(partial, errno, "%s: %s", partial->temporary,
                    strerror(errno));
    /* The lock says that it is in use.  Some filesystems have none. */
    r = flock(partial->fd, LOCK_EX | LOCK_NB);
    if ((r < 0 && errno == EWOULDBLOCK) ||
        fstat(partial->fd, &partial->st) < 0 ||
        !partial_is(partial, partial->temporary))
        return fail(partial, EBUSY, "another process took the name %s",
                    partial->temporary);
    return 0;
}

int partial_look(struct partial *partial, const char *name,
                 const struct partial_kind *kind)
{
    int r = find(partial, name, kind);

    if (r)
        partial_close(partial);
    return r;
}

int partial_open(struct partial *partial, const char *name,
                 const struct partial_kind *kind)
{
    int r = find(partial, name, kind);

    if (!r && !partial->in_place)
        r = create(partial, kind);
    if (r)
        partial_close(partial);
    return r;
}

int partial_attach(struct partial *partial, int fd, const char *path)
{
    const char *slash = strrchr(path, '/');

    *partial = (struct partial)PARTIAL_INIT;
    /* A pipe, for example, has no name. */
    if (!slash || !slash[1])
        return fail(partial, ESTALE, "it has no name");
    snprintf(partial->temporary, sizeof(partial->temporary), "%s", slash + 1);
    snprintf(partial->directory, sizeof(partial->directory), "%.*s",
             slash == path ? 1 : (int)(slash - path), path);
    partial->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    partial->dirfd = directory_open_by(AT_FDCWD, partial->directory);
    if (partial->fd < 0 || partial->dirfd < 0 || fstat(fd, &partial->st))
        fail_errno(partial);
    else if (!partial_is(partial, partial->temporary))
        fail(partial, ESTALE, "the file has lost its name");
    else
        return 0;
    partial_close(partial);
    return -1;
}

/* ---- the end ------------------------------------------------------------ */

/* An earlier file of that name is kept, under the temporary name, until the
 * directory is on stable storage. */
static int give_name(const struct partial *partial, bool *exchanged)
{
    int at = partial->dirfd;
    struct stat st;

    *exchanged = !fstatat(at, partial->base, &st, AT_SYMLINK_NOFOLLOW) &&
                 S_ISREG(st.st_mode) &&
                 !renameat2(at, partial->temporary, at, partial->base,
                            RENAME_EXCHANGE);
    return *exchanged ? 0
                      : renameat(at, partial->temporary, at, partial->base);
}

static void take_name_back(const struct partial *partial, bool exchanged)
{
    int at = partial->dirfd;

    if (exchanged)
        (void)renameat2(at, partial->base, at, partial->temporary,
                        RENAME_EXCHANGE);
    else
        (void)renameat(at, partial->base, at, partial->temporary);
}

int partial_sync_directory(struct partial *partial)
{
    int r = fsync(partial->dirfd);

    /* One that was opened for names alone. */
    if (r && errno == EBADF)
        r = syncfs(partial->fd);
    /* Not supported by every filesystem. */
    return r && errno != EINVAL
               ? fail(partial, errno,
                      "putting its directory on stable storage: "
                      "%s",
                      strerror(errno))
               : 0;
}

int partial_rename(struct partial *partial)
{
    bool exchanged;

    if (!partial_is(partial, partial->temporary))
        return fail(partial, ESTALE,
                    "%s was moved or removed by another "
                    "process while it was written; the new file has no name",
                    partial->temporary);
    if (give_name(partial, &exchanged))
        return fail(partial, errno, "renaming %s to %s: %s",
                    partial->temporary, partial->base, strerror(errno));
    /* Another user of the directory may have been faster than the rename. */
    if (!partial_is(partial, partial->base))
        fail(partial, ESTALE, "%s was replaced by another process",
             partial->temporary);
    else if (!partial_sync_directory(partial)) {
        if (exchanged && strcmp(partial->temporary, partial->base))
            unlinkat(partial->dirfd, partial->temporary, 0);
        return 0;
    }
    take_name_back(partial, exchanged);
    return -1;
}

static bool is_in(const struct partial *partial, const char *name)
{
    struct stat here, there;
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s", name);
    return !fstat(partial->dirfd, &here) && !stat(dirname(path), &there) &&
           stat_same(&here, &there);
}

int partial_rename_to(struct partial *partial, const char *name)
{
    const char *slash = strrchr(name, '/');

    if (partial->dirfd < 0)
        return -1;
    if (!is_in(partial, name))
        return fail(partial, EXDEV, "%s/%s is not in the directory of %s",
                    partial->directory, partial->temporary, name);
    snprintf(partial->base, sizeof(partial->base), "%s",
             slash ? slash + 1 : name);
    return partial_rename(partial);
}

int partial_commit(struct partial *partial)
{
    if (fsync(partial->fd))
        return fail(partial, errno, "putting it on stable storage: %s",
                    strerror(errno));
    return partial_rename(partial);
}

bool partial_discard(const struct partial *partial)
{
    return partial->dirfd >= 0 && !partial->in_place &&
           partial_is(partial, partial->temporary) &&
           !unlinkat(partial->dirfd, partial->temporary, 0);
}

void partial_close(struct partial *partial)
{
    int errnum = errno;

    if (partial->fd >= 0)
        close(partial->fd);
    if (partial->dirfd >= 0)
        close(partial->dirfd);
    partial->fd = partial->dirfd = -1;
    errno = errnum;
}
