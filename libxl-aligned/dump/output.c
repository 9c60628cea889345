/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a dump goes.  A regular file is written as NAME.partial and renamed
 * when it is whole; anything else is written as it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "directory.h"
#include "dump.h"

#define LINKS_MAX   8
#define SUFFIX      ".partial"
#define MODE        (S_IRUSR | S_IWUSR)

static int fail(const struct output *output, const char *what)
{
    int errnum = errno;

    report(NULL, XTL_ERROR, "no dump in %s: %s: %s", output->name, what,
           strerror(errnum));
    errno = errnum;
    return -1;
}

/* ---- finding the place -------------------------------------------------- */

/* Opens the directory of `name`, relative to the one before. */
static int enter(struct output *output, const char *name)
{
    const char *slash = strrchr(name, '/');
    const char *base = slash ? slash + 1 : name;
    char directory[PATH_MAX];
    int fd;

    if (snprintf(directory, sizeof(directory), "%.*s",
                 slash ? (int)(slash - name + 1) : 1,
                 slash ? name : ".") >= (int)sizeof(directory) ||
        strlen(base) + sizeof(SUFFIX) > sizeof(output->partial)) {
        errno = ENAMETOOLONG;
        return fail(output, "name");
    }
    if (!*base || !strcmp(base, ".") || !strcmp(base, "..")) {
        errno = EISDIR;
        return fail(output, "name of a file");
    }
    fd = v3_directory_open(output->directory, directory);
    if (fd < 0)
        return fail(output, errno == EPERM ? "a symbolic link of somebody "
                            "else's on the way" : directory);
    if (output->directory != AT_FDCWD)
        close(output->directory);
    output->directory = fd;
    strcpy(output->base, base);
    return 0;
}

/* Links to open files, such as /dev/stdout: what they lead to has no name. */
static bool in_proc(int directory)
{
    struct statfs fs;

    return !fstatfs(directory, &fs) && fs.f_type == PROC_SUPER_MAGIC;
}

static int open_as_is(struct output *output)
{
    int fd = openat(output->directory, output->base,
                    O_WRONLY | O_CLOEXEC | O_NOCTTY);
    struct stat st;

    if (fd < 0)
        return fail(output, "open");
    output->fd = fd;
    output->base[0] = '\0';
    /* Only the links above lead to one; stock empties it as well. */
    if (!fstat(fd, &st) && S_ISREG(st.st_mode) && ftruncate(fd, 0))
        return fail(output, "truncate");
    return 0;
}

/* ---- signals ----------------------------------------------------------- */

/* The dump, of perhaps several at once, that a fatal signal clears away. */
static struct output *volatile cleared;

static const int fatal[] = { SIGHUP, SIGINT, SIGTERM, SIGQUIT };
static bool caught[sizeof(fatal) / sizeof(fatal[0])];

static void clear_away(int signum)
{
    const struct output *output = cleared;

    if (output)
        unlinkat(output->directory, output->partial, 0);
    /* The handler was reset: this ends the program. */
    raise(signum);
}

/* A program that has its own idea of these signals keeps it. */
static void signals_begin(struct output *output)
{
    struct sigaction action = { .sa_handler = clear_away,
                                .sa_flags = SA_RESETHAND }, old;
    size_t i;

    if (!__sync_bool_compare_and_swap(&cleared, NULL, output))
        return;
    for (i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
        caught[i] = !sigaction(fatal[i], NULL, &old) &&
                    old.sa_handler == SIG_DFL;
        if (caught[i])
            sigaction(fatal[i], &action, NULL);
    }
}

static void signals_end(struct output *output)
{
    size_t i;

    if (cleared != output)
        return;
    for (i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
        if (caught[i])
            signal(fatal[i], SIG_DFL);
    cleared = NULL;
}

/* ---- NAME.partial ------------------------------------------------------- */

static bool is_partial(const struct output *output, const struct stat *st)
{
    struct stat now;

    return !fstatat(output->directory, output->partial, &now,
                    AT_SYMLINK_NOFOLLOW) &&
           now.st_dev == st->st_dev && now.st_ino == st->st_ino;
}

/* One that a killed dump left is ours and is not locked. */
static int remove_stale(struct output *output)
{
    int fd = openat(output->directory, output->partial,
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    const char *why = NULL;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) ||
        st.st_uid != geteuid() || st.st_nlink != 1)
        why = "in the way, and not what an earlier dump left; remove it";
    else if (flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        why = "being written by another dump";
    else if (!is_partial(output, &st) ||
             unlinkat(output->directory, output->partial, 0))
        why = "cannot be removed";
    if (fd >= 0)
        close(fd);
    if (!why)
        return 0;
    report(NULL, XTL_ERROR, "no dump in %s: %s is %s", output->name,
           output->partial, why);
    errno = EEXIST;
    return -1;
}

static int create_partial(struct output *output)
{
    const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;

    strcpy(stpcpy(output->partial, output->base), SUFFIX);
    output->fd = openat(output->directory, output->partial, flags, MODE);
    if (output->fd < 0 && errno == EEXIST) {
        if (remove_stale(output))
            return -1;
        output->fd = openat(output->directory, output->partial, flags, MODE);
    }
    if (output->fd < 0)
        return fail(output, output->partial);
    signals_begin(output);
    /* Says that it is in use; a filesystem without locks goes without. */
    (void)!flock(output->fd, LOCK_EX | LOCK_NB);
    return 0;
}

/* ---- the whole ---------------------------------------------------------- */

/* The kernel, which would refuse what others have placed, is not asked. */
static int follow_link(struct output *output)
{
    char to[PATH_MAX];
    ssize_t r;

    if (v3_directory_is_shared(output->directory)) {
        errno = EACCES;
        return fail(output, "a symbolic link in a directory that others can "
                            "write to; name the file itself");
    }
    r = readlinkat(output->directory, output->base, to, sizeof(to) - 1);
    if (r < 0)
        return fail(output, "link");
    to[r] = '\0';
    return enter(output, to);
}

static int open_output(struct output *output)
{
    struct stat st;
    int links;

    if (enter(output, output->name))
        return -1;
    for (links = 0; links < LINKS_MAX; links++) {
        if (fstatat(output->directory, output->base, &st,
                    AT_SYMLINK_NOFOLLOW))
            return errno == ENOENT ? create_partial(output)
                                   : fail(output, "status");
        if (S_ISREG(st.st_mode))
            return create_partial(output);
        if (!S_ISLNK(st.st_mode) || in_proc(output->directory))
            return open_as_is(output);
        if (follow_link(output))
            return -1;
    }
    errno = ELOOP;
    return fail(output, "links");
}

int output_open(struct output *output, const char *name)
{
    memset(output, 0, sizeof(*output));
    output->name = name;
    output->directory = AT_FDCWD;
    output->fd = -1;
    if (!open_output(output))
        return 0;
    /* Nothing of the name is ours to remove. */
    output->base[0] = '\0';
    output_close(output);
    return -1;
}

int output_commit(struct output *output)
{
    if (v3_fd_sync(output->fd))
        return fail(output, "fsync");
    posix_fadvise(output->fd, 0, 0, POSIX_FADV_DONTNEED);
    if (!output->base[0])
        return 0;
    if (renameat(output->directory, output->partial, output->directory,
                 output->base))
        return fail(output, "rename");
    signals_end(output);
    output->base[0] = '\0';
    if (fsync(output->directory))
        return fail(output, "fsync of the directory");
    return 0;
}

void output_close(struct output *output)
{
    int errnum = errno;

    if (output->base[0])
        unlinkat(output->directory, output->partial, 0);
    signals_end(output);
    if (output->fd >= 0)
        close(output->fd);
    if (output->directory >= 0)
        close(output->directory);
    errno = errnum;
}

bool output_name(const struct output *output, char *name, size_t size)
{
    char link[64];
    struct stat st;
    ssize_t r;

    if (!output->base[0] && (fstat(output->fd, &st) ||
                             S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)))
        return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d",
             output->base[0] ? output->directory : output->fd);
    r = readlink(link, name, size - 1);
    if (r < 0)
        return false;
    name[r] = '\0';
    if (output->base[0])
        snprintf(name + r, size - r, "%s%s", r > 1 ? "/" : "", output->base);
    return true;
}

void output_path(const struct output *output, char *path, size_t size)
{
    snprintf(path, size, "/proc/self/fd/%d", output->fd);
}
