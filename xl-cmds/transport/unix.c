/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A socket in the file system: who may open it is the file system's to say. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "transport.h"

static int fill(struct sockaddr_un *address, const char *path)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    if (!path[0] || strlen(path) >= sizeof(address->sun_path)) {
        errno = path[0] ? ENAMETOOLONG : ENOENT;
        return -1;
    }
    strcpy(address->sun_path, path);
    return 0;
}

static int unix_connect(struct link *link, const char *path, char *const *xl,
                        const struct transport_options *options)
{
    struct sockaddr_un address;
    int fd;

    (void)xl;
    (void)options;
    memset(link, 0, sizeof(*link));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || fill(&address, path) < 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        link_fail(link, errno, "%s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return link_open_fds(link, fd, fd, path);
}

/* A socket that nobody listens on any more, from a listener that died. */
static void remove_stale(const struct sockaddr_un *address)
{
    struct stat st;
    int fd;

    if (lstat(address->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
        errno == ECONNREFUSED)
        unlink(address->sun_path);
    close(fd);
}

static int unix_listen(const char *path,
                       const struct transport_options *options, char *why,
                       size_t size)
{
    struct sockaddr_un address;
    mode_t mask;
    int fd, r;

    (void)options;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || fill(&address, path) < 0)
        goto failed;
    remove_stale(&address);
    /* A domain may be started by whoever connects: the owner alone. */
    mask = umask(0177);
    r = bind(fd, (struct sockaddr *)&address, sizeof(address));
    umask(mask);
    if (r < 0 || listen(fd, SOMAXCONN) < 0)
        goto failed;
    return fd;

failed:
    snprintf(why, size, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static int unix_accept(struct link *link, int fd, int64_t deadline,
                       const struct transport_options *options)
{
    struct ucred peer = { 0 };
    socklen_t length = sizeof(peer);
    char name[64];

    (void)deadline;
    (void)options;
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length);
    snprintf(name, sizeof(name), "unix: process %ld of user %ld",
             (long)peer.pid, (long)peer.uid);
    return link_open_fds(link, fd, fd, name);
}

const struct transport transport_unix = {
    .name = "unix",
    .sender_first = true,
    .trusted = true,
    .connect = unix_connect,
    .listen = unix_listen,
    .accept = unix_accept,
};
