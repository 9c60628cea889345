/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A UNIX socket: the permissions of its path decide who may connect. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "carrier.h"

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
                        const struct carrier_options *options)
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

/* A stale socket of a listener that has died. */
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

static int unix_listen(const char *path, const struct carrier_options *options,
                       char *why, size_t size)
{
    struct sockaddr_un address;
    mode_t mask;
    int fd, r;

    (void)options;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || fill(&address, path) < 0)
        goto failed;
    remove_stale(&address);
    /* Clients can start domains: for the owner only. */
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

/* systemd may have opened the socket, with any mode. */
static bool may_send(const struct carrier_options *options, uid_t uid)
{
    const char *const *entry;
    char name[32];

    if (!uid || uid == options->owner)
        return true;
    snprintf(name, sizeof(name), ALLOW_UID "%lu", (unsigned long)uid);
    for (entry = options->allow; entry && *entry; entry++) {
        if (!strcmp(*entry, name))
            return true;
    }
    return false;
}

static int unix_accept(struct link *link, int fd, int64_t deadline,
                       const struct carrier_options *options)
{
    struct ucred peer = { 0 };
    socklen_t length = sizeof(peer);
    char name[64];

    (void)deadline;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        peer.uid = -1;
    snprintf(name, sizeof(name), "unix: process %ld of user %ld",
             (long)peer.pid, (long)peer.uid);
    if (link_open_fds(link, fd, fd, name) < 0)
        return -1;
    if (!may_send(options, peer.uid))
        return link_fail(link, EPERM,
                         "user %ld is neither root nor the one "
                         "who listens, nor has --allow=" ALLOW_UID "%ld",
                         (long)peer.uid, (long)peer.uid);
    return 0;
}

const struct carrier carrier_unix = {
    .name = "unix",
    .sender_first = true,
    .trusted = true,
    .connect = unix_connect,
    .listen = unix_listen,
    .accept = unix_accept,
    .turn_away = negotiate_turn_away,
};
