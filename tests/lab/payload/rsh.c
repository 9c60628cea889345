/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lab-rsh HOST COMMAND...: like ssh, in plain text; an emulated processor
 * encrypts about 1 MB a second.  For `xl migrate -s lab-rsh NAME HOST`: its
 * stdin and stdout are pipes, spliced without a copy.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORT  "514"
#define PIECE (1 << 20)

static int connect_to(const char *host)
{
    const struct addrinfo hints = { .ai_family = AF_INET,
                                    .ai_socktype = SOCK_STREAM };
    struct addrinfo *found;
    int r = getaddrinfo(host, PORT, &hints, &found), fd;

    if (r)
        errx(255, "%s: %s", host, gai_strerror(r));
    fd = socket(found->ai_family, found->ai_socktype, 0);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) < 0)
        err(255, "%s", host);
    freeaddrinfo(found);
    return fd;
}

static void wait_for(int fd, short events)
{
    struct pollfd poll_fd = { .fd = fd, .events = events };

    while (poll(&poll_fd, 1, -1) < 0 && errno == EINTR)
        ;
}

/*
 * A splice that waits keeps the pipe locked: a reader of it would wait
 * as well, even one that asked not to.
 */
static ssize_t splice_some(int from, int to)
{
    ssize_t r;

    for (;;) {
        wait_for(from, POLLIN);
        r = splice(from, NULL, to, NULL, PIECE,
                   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (r >= 0 || errno != EAGAIN)
            return r;
        wait_for(to, POLLOUT);
    }
}

static int copy(int from, int to)
{
    static char buffer[65536];
    ssize_t r, w, done;

    for (;;) {
        wait_for(from, POLLIN);
        r = read(from, buffer, sizeof(buffer));
        if (r <= 0)
            return r < 0;
        for (done = 0; done < r; done += w) {
            wait_for(to, POLLOUT);
            w = write(to, buffer + done, r - done);
            if (w < 0 && errno != EAGAIN)
                return 1;
            w = w < 0 ? 0 : w;
        }
    }
}

static int carry(int from, int to)
{
    ssize_t r;

    while ((r = splice_some(from, to)) > 0)
        ;
    /* Neither end is a pipe, as with a command by hand. */
    return r < 0 && errno == EINVAL ? copy(from, to) : r < 0;
}

int main(int argc, char **argv)
{
    int fd, i, status = 0;
    pid_t pid;

    if (argc < 3)
        errx(2, "lab-rsh HOST COMMAND...");
    fd = connect_to(argv[1]);
    for (i = 2; i < argc; i++)
        dprintf(fd, "%s%s", argv[i], i + 1 < argc ? " " : "\n");
    fcntl(fd, F_SETFL, O_NONBLOCK);
    fcntl(STDIN_FILENO, F_SETPIPE_SZ, PIECE);
    pid = fork();
    if (pid < 0)
        err(255, "fork");
    if (!pid) {
        /* What goes there; the other end may close first. */
        signal(SIGPIPE, SIG_DFL);
        carry(STDIN_FILENO, fd);
        shutdown(fd, SHUT_WR);
        _exit(0);
    }
    close(STDIN_FILENO);
    status = carry(fd, STDOUT_FILENO);
    /* There is no reader for the rest. */
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    return status;
}
