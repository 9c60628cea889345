/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel has such a rule of its own, fs.protected_symlinks, but for
 * sticky directories only, and it may be off.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "directory.h"

#define LINKS_MAX          40 /* as the kernel's */
#define WRITABLE_BY_OTHERS (S_IWGRP | S_IWOTH)

bool directory_is_shared(int fd)
{
    struct stat st;

    return fstat(fd, &st) < 0 || (st.st_mode & WRITABLE_BY_OTHERS) ||
           (st.st_uid != 0 && st.st_uid != geteuid());
}

/* A second name of a link of ours may be anywhere. */
static bool is_of_others(int directory, const struct stat *link)
{
    return directory_is_shared(directory) &&
           ((link->st_uid != 0 && link->st_uid != geteuid()) ||
            link->st_nlink != 1);
}

struct walk {
    int fd; /* how far it has come */
    int links;
    char rest[PATH_MAX]; /* what is still to go */
};

static void walk_to(struct walk *walk, int fd)
{
    if (walk->fd >= 0)
        close(walk->fd);
    walk->fd = fd;
}

static int start(struct walk *walk, int at)
{
    const char *from = walk->rest[0] == '/' ? "/" : ".";
    int fd = openat(at, from, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    walk_to(walk, fd);
    return 0;
}

/* Takes the first component off the rest; false: there is none. */
static bool next_component(struct walk *walk, char component[NAME_MAX + 1])
{
    char *begin = walk->rest + strspn(walk->rest, "/");
    size_t length = strcspn(begin, "/");

    if (!length)
        return false;
    if (length > NAME_MAX)
        length = NAME_MAX;
    memcpy(component, begin, length);
    component[length] = '\0';
    memmove(walk->rest, begin + length, strlen(begin + length) + 1);
    return true;
}

/* Puts what a link says before the rest. */
static int follow(struct walk *walk, int link)
{
    char to[PATH_MAX], rest[PATH_MAX];
    ssize_t r = readlinkat(link, "", to, sizeof(to) - 1);
    int length;

    if (r < 0)
        return -1;
    to[r] = '\0';
    if (++walk->links > LINKS_MAX) {
        errno = ELOOP;
        return -1;
    }
    strcpy(rest, walk->rest);
    length = snprintf(walk->rest, sizeof(walk->rest), "%s/%s", to, rest);
    if (length >= (int)sizeof(walk->rest)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return to[0] == '/' ? start(walk, AT_FDCWD) : 0;
}

static int step(struct walk *walk, const char *component)
{
    int fd = openat(walk->fd, component, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    int r = -1, errnum;

    if (fd < 0)
        return -1;
    if (fstat(fd, &st))
        goto out;
    if (S_ISDIR(st.st_mode)) {
        walk_to(walk, fd);
        return 0;
    }
    if (!S_ISLNK(st.st_mode))
        errno = ENOTDIR;
    else if (is_of_others(walk->fd, &st))
        errno = EPERM;
    else
        r = follow(walk, fd);
out:
    errnum = errno;
    close(fd);
    errno = errnum;
    return r;
}

int directory_open_by(int at, const char *path)
{
    int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    /* Root squashed by NFS: may be allowed to write, but not to read. */
    if (fd < 0 && errno == EACCES)
        fd = openat(at, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd;
}

int directory_open(int at, const char *path)
{
    struct walk walk = { .fd = -1 };
    char component[NAME_MAX + 1];
    int fd = -1, errnum;

    if (snprintf(walk.rest, sizeof(walk.rest), "%s", path) >=
        (int)sizeof(walk.rest)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (start(&walk, at))
        goto out;
    while (next_component(&walk, component))
        if (step(&walk, component))
            goto out;
    fd = directory_open_by(walk.fd, ".");
out:
    errnum = errno;
    if (walk.fd >= 0)
        close(walk.fd);
    errno = errnum;
    return fd;
}
