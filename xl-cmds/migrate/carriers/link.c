/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Links that are plain file descriptors: pipes and sockets. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "carrier.h"

int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

int wait_for_any(struct pollfd *fds, unsigned count, int64_t deadline)
{
    int64_t left = deadline - now_ms();
    struct timespec timeout;
    sigset_t none;
    int r;

    if (left < 0)
        left = 0;
    timeout.tv_sec = left / 1000;
    timeout.tv_nsec = left % 1000 * 1000000;
    sigemptyset(&none);
    r = ppoll(fds, count, deadline ? &timeout : NULL, &none);
    if (!r)
        errno = ETIMEDOUT;
    return r > 0 ? 0 : -1;
}

int wait_for(int fd, short events, int64_t deadline)
{
    struct pollfd poll_fd = { .fd = fd, .events = events };

    return wait_for_any(&poll_fd, 1, deadline);
}

int link_fail(struct link *link, int errnum, const char *format, ...)
{
    va_list ap;

    if (!link->error[0]) {
        va_start(ap, format);
        vsnprintf(link->error, sizeof(link->error), format, ap);
        va_end(ap);
    }
    errno = errnum;
    return -1;
}

static ssize_t fd_read(struct link *link, void *data, size_t length)
{
    ssize_t r;

    do {
        r = read(link->in, data, length);
    } while (r < 0 && errno == EINTR);
    if (r < 0 && errno != EAGAIN)
        link_fail(link, errno, "reading: %s", strerror(errno));
    return r;
}

static ssize_t fd_write(struct link *link, const void *data, size_t length)
{
    ssize_t r;

    do {
        r = write(link->out, data, length);
    } while (r < 0 && errno == EINTR);
    if (r < 0 && errno != EAGAIN)
        link_fail(link, errno, "writing: %s", strerror(errno));
    return r;
}

static int fd_finish(struct link *link)
{
    if (link->out < 0)
        return 0;
    if (link->in == link->out) {
        shutdown(link->out, SHUT_WR);
        return 0;
    }
    close(link->out);
    link->out = -1;
    return 0;
}

static void fd_stop(struct link *link)
{
    if (link->in < 0 || link->in == link->out)
        return;
    close(link->in);
    link->in = -1;
}

static void fd_close(struct link *link)
{
    if (link->in >= 0)
        close(link->in);
    if (link->out >= 0 && link->out != link->in)
        close(link->out);
    link->in = link->out = -1;
}

static const struct link_ops fd_ops = {
    .read = fd_read,
    .write = fd_write,
    .finish = fd_finish,
    .stop = fd_stop,
    .close = fd_close,
};

static int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

int link_open_fds(struct link *link, int in, int out, const char *peer)
{
    memset(link, 0, sizeof(*link));
    link->ops = &fd_ops;
    link->in = in;
    link->out = out;
    link->read_events = POLLIN;
    link->write_events = POLLOUT;
    link->splice_in = link->splice_out = true;
    link->open = true;
    snprintf(link->peer, sizeof(link->peer), "%s", peer);
    if (set_nonblocking(in) < 0 || set_nonblocking(out) < 0)
        return link_fail(link, errno, "%s: %s", peer, strerror(errno));
    return 0;
}

void link_linger(struct link *link, int64_t deadline)
{
    char data[4096];

    if (!link->ops || link->in != link->out)
        return;
    link->ops->finish(link);
    shutdown(link->out, SHUT_WR);
    while (!wait_for(link->in, POLLIN, deadline) &&
           recv(link->in, data, sizeof(data), MSG_DONTWAIT) > 0) {
    }
}

void link_close(struct link *link)
{
    if (link->ops)
        link->ops->close(link);
    link->ops = NULL;
}
