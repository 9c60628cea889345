/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The xl that is started for a domain that arrives. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listener.h"

static void become_xl(const struct listener *listener, uint32_t request,
                      const char *peer, int in, int out)
{
    struct arguments xl = { 0 };
    sigset_t none;

    arguments_add(&xl, "xl");
    arguments_add(&xl, "migrate-receive");
    if (request & HELLO_STAY)
        arguments_add(&xl, "-e");
    if (request & HELLO_DEBUG)
        arguments_add(&xl, "-d");
    if (request & HELLO_PAUSE)
        arguments_add(&xl, "-p");

    /* Neither a terminal's signals nor this program's end is xl's. */
    setsid();
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
        _exit(STATUS_FAILED);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    unsetenv("NOTIFY_SOCKET");
    setenv("XL_ALIGNED_PEER", peer, 1);
    _exit(become(listener->program, xl.argv));
}

/* Its stdin and stdout are pipes whose other ends go to the session. */
pid_t arrival_start_xl(const struct listener *listener, uint32_t request,
                       const char *peer, int control)
{
    int in[2] = { -1, -1 }, out[2] = { -1, -1 }, i;
    pid_t pid = -1;

    if (pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0) {
        pid = fork();
        if (!pid)
            become_xl(listener, request, peer, in[0], out[1]);
    }
    if (pid < 0)
        report("%s: starting xl: %s", peer, strerror(errno));
    if (pid > 0 && control_send_fds(control, (int[]){ out[0], in[1] }) < 0)
        report("the session is gone");
    for (i = 0; i < 2; i++) {
        if (in[i] >= 0)
            close(in[i]);
        if (out[i] >= 0)
            close(out[i]);
    }
    return pid;
}
