/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "directory.h"
#include "target.h"

#define LINKS_MAX   8

static int refuse(const struct target *target, const char *why)
{
    report("%s: %s", target->given, why);
    return STATUS_FAILED;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool target_names(const char *name, int fd)
{
    struct stat named, opened;

    return stat(name, &named) == 0 && fstat(fd, &opened) == 0 &&
           same_file(&named, &opened);
}

static bool name_is(const struct target *target, const char *base)
{
    struct stat st;

    return fstatat(target->dirfd, base, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           same_file(&st, &target->st);
}

/* ---- finding the place -------------------------------------------------- */

/* The name of an open directory. */
static char *name_of_directory(int fd)
{
    char link[64], name[PATH_MAX];
    ssize_t r;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    r = readlink(link, name, sizeof(name) - 1);
    if (r < 0)
        return NULL;
    name[r] = 0;
    return xstrdup(name);
}

static int cannot_open_directory(const struct target *target,
                                 const char *directory)
{
    report("%s: directory %s: %s", target->given, directory,
           errno == EPERM ? "leads over a symbolic link of somebody else's; "
           "name the directory itself" : strerror(errno));
    return STATUS_FAILED;
}

/*
 * Sets dirfd, final and base to what `name` says, seen from dirfd if it is
 * open.
 */
static int look_up_directory(struct target *target, const char *name)
{
    const char *slash = strrchr(name, '/');
    const char *base = slash ? slash + 1 : name;
    char *directory = slash ? xasprintf("%.*s", (int)(slash - name + 1), name)
                            : xstrdup(".");
    char *real = NULL;
    int status = STATUS_FAILED, fd = -1;

    if (!*base || strcmp(base, ".") == 0 || strcmp(base, "..") == 0) {
        refuse(target, "names a directory; give the name of a file");
        goto out;
    }
    fd = v3_directory_open(target->dirfd >= 0 ? target->dirfd : AT_FDCWD,
                           directory);
    real = fd < 0 ? NULL : name_of_directory(fd);
    if (!real) {
        cannot_open_directory(target, directory);
        goto out;
    }
    if (target->dirfd >= 0)
        close(target->dirfd);
    target->dirfd = fd;
    fd = -1;
    free(target->final);
    free(target->base);
    target->final = xasprintf("%s/%s", strcmp(real, "/") ? real : "", base);
    target->base = xstrdup(base);
    status = STATUS_OK;

out:
    if (fd >= 0)
        close(fd);
    free(directory);
    free(real);
    return status;
}

/* /dev/stdout and the like: links of the kernel's own, to open files. */
static bool is_magic_link(const struct target *target)
{
    struct statfs fs;

    return fstatfs(target->dirfd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* Goes one step along a symbolic link. */
static int follow_link(struct target *target)
{
    char to[PATH_MAX];
    ssize_t r;

    if (v3_directory_is_shared(target->dirfd))
        return refuse(target, "is or leads to a symbolic link in a directory "
                              "that others can write to; name the file "
                              "itself");
    r = readlinkat(target->dirfd, target->base, to, sizeof(to) - 1);
    if (r < 0)
        return refuse(target, strerror(errno));
    to[r] = 0;
    return look_up_directory(target, to);
}

static int open_direct(struct target *target, bool magic)
{
    target->fd = openat(target->dirfd, target->base,
                        O_PATH | O_CLOEXEC | (magic ? 0 : O_NOFOLLOW));
    if (target->fd < 0 || fstat(target->fd, &target->st) < 0)
        return refuse(target, strerror(errno));
    if (S_ISDIR(target->st.st_mode))
        return refuse(target, "is a directory");
    if (!magic && v3_directory_is_shared(target->dirfd) &&
        target->st.st_uid != 0 && target->st.st_uid != geteuid())
        return refuse(target, "belongs to somebody else, in a directory that "
                              "others can write to");
    free(target->final);
    target->final = NULL;
    return STATUS_OK;
}

/* ---- FILE.partial ------------------------------------------------------- */

/*
 * An earlier run may have left FILE.partial behind, when the host went down
 * say.  It may go if it is ours and nobody holds its lock.
 */
static int remove_stale(struct target *target)
{
    int status = STATUS_FAILED;
    struct stat st;
    int fd = openat(target->dirfd, target->partial_base,
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        st.st_uid != geteuid() || st.st_nlink != 1) {
        report("%s is in the way and not a file that an earlier save left; "
               "remove it, or save under another name", target->partial);
        goto out;
    }
    target->st = st;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
        report("%s is being written by another save", target->partial);
        goto out;
    }
    if (!name_is(target, target->partial_base) ||
        unlinkat(target->dirfd, target->partial_base, 0) < 0) {
        report("%s: cannot be removed: %s", target->partial,
               strerror(errno));
        goto out;
    }
    report("removed %s, which an earlier save had left", target->partial);
    status = STATUS_OK;

out:
    if (fd >= 0)
        close(fd);
    return status;
}

static int create_partial(struct target *target)
{
    int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int r;

    target->partial = xasprintf("%s.partial", target->final);
    target->partial_base = xasprintf("%s.partial", target->base);
    target->fd = openat(target->dirfd, target->partial_base, flags, 0600);
    if (target->fd < 0 && errno == EEXIST) {
        if (remove_stale(target) != STATUS_OK)
            return STATUS_FAILED;
        target->fd = openat(target->dirfd, target->partial_base, flags, 0600);
    }
    if (target->fd < 0) {
        report("%s: %s", target->partial, strerror(errno));
        return STATUS_FAILED;
    }
    /* The lock says that it is in use.  Some filesystems have none. */
    r = flock(target->fd, LOCK_EX | LOCK_NB);
    if ((r < 0 && errno == EWOULDBLOCK) ||
        fstat(target->fd, &target->st) < 0 ||
        !name_is(target, target->partial_base)) {
        report("%s: another save took the name", target->partial);
        return STATUS_FAILED;
    }
    return STATUS_OK;
}

int target_open(struct target *target, const char *name)
{
    struct stat st;
    int links, status;

    *target = (struct target){ .given = name, .dirfd = -1, .fd = -1 };
    status = look_up_directory(target, name);
    if (status != STATUS_OK)
        goto out;

    for (links = 0;; links++) {
        if (fstatat(target->dirfd, target->base, &st,
                    AT_SYMLINK_NOFOLLOW) < 0) {
            status = errno == ENOENT ? create_partial(target)
                                     : refuse(target, strerror(errno));
            break;
        }
        if (S_ISREG(st.st_mode)) {
            status = create_partial(target);
            break;
        }
        if (!S_ISLNK(st.st_mode)) {
            status = open_direct(target, false);
            break;
        }
        if (is_magic_link(target)) {
            status = open_direct(target, true);
            break;
        }
        status = links < LINKS_MAX ? follow_link(target)
                                   : refuse(target, strerror(ELOOP));
        if (status != STATUS_OK)
            break;
    }
    snprintf(target->path, sizeof(target->path), "/proc/%ld/fd/%d",
             (long)getpid(), target->fd);

out:
    if (status != STATUS_OK)
        target_close(target);
    return status;
}

/* ---- the end ------------------------------------------------------------ */

bool target_is_renamed(const struct target *target)
{
    return target->final && name_is(target, target->base);
}

int target_commit(struct target *target)
{
    if (!target->final || target_is_renamed(target))
        return STATUS_OK;
    if (fsync(target->fd) < 0) {
        report("%s: putting it on stable storage: %s", target->partial,
               strerror(errno));
        return STATUS_FAILED;
    }
    if (!name_is(target, target->partial_base)) {
        report("%s: was moved or removed by somebody else while it was "
               "written; the new file has no name", target->partial);
        return STATUS_FAILED;
    }
    if (renameat(target->dirfd, target->partial_base, target->dirfd,
                 target->base) < 0) {
        report("%s: renaming it to %s: %s", target->partial, target->final,
               strerror(errno));
        return STATUS_FAILED;
    }
    if (fsync(target->dirfd) < 0) {
        report("%s: putting its directory on stable storage: %s",
               target->final, strerror(errno));
        return STATUS_FAILED;
    }
    return STATUS_OK;
}

void target_abandon(struct target *target)
{
    if (target->final && name_is(target, target->partial_base))
        unlinkat(target->dirfd, target->partial_base, 0);
}

static struct target *abandon_on_signal;

static void abandon_handler(int signum)
{
    int esave = errno;

    if (abandon_on_signal)
        target_abandon(abandon_on_signal);
    errno = esave;
    /* The handler was reset: this ends the program. */
    raise(signum);
}

void target_abandon_on_signal(struct target *target)
{
    static const int signums[] = { SIGHUP, SIGINT, SIGTERM, SIGPIPE };
    struct sigaction action = { .sa_handler = abandon_handler,
                                .sa_flags = SA_RESETHAND }, old;
    size_t i;

    abandon_on_signal = target;
    for (i = 0; target && i < sizeof(signums) / sizeof(signums[0]); i++)
        if (sigaction(signums[i], NULL, &old) == 0 &&
            old.sa_handler != SIG_IGN)
            sigaction(signums[i], &action, NULL);
}

void target_close(struct target *target)
{
    if (target->fd >= 0)
        close(target->fd);
    if (target->dirfd >= 0)
        close(target->dirfd);
    free(target->final);
    free(target->partial);
    free(target->base);
    free(target->partial_base);
    *target = (struct target){ .dirfd = -1, .fd = -1 };
}
