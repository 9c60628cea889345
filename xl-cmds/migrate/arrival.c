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

/* Its stdin and stdout are pipes whose other ends go to the session. */
pid_t arrival_start_xl(const struct listener *listener, uint32_t request,
                       const char *peer, int control)
{
    int in[2] = { -1, -1 }, out[2] = { -1, -1 }, i, r;
    pid_t pid = -1;
    struct xl xl;

    xl_init(&xl, &xl_receive, "migrate-receive");
    if (request & HELLO_STAY)
        arguments_add(&xl.arguments, "-e");
    if (request & HELLO_DEBUG)
        arguments_add(&xl.arguments, "-d");
    if (request & HELLO_PAUSE)
        arguments_add(&xl.arguments, "-p");
    setenv("XL_ALIGNED_PEER", peer, 1);
    r = pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) ? errno : 0;
    if (!r) {
        xl.program = listener->program;
        xl.fds[STDIN_FILENO] = in[0];
        xl.fds[STDOUT_FILENO] = out[1];
        r = xl_start(&xl, &pid);
    }
    xl_free(&xl);
    if (r) {
        report("%s: starting xl: %s", peer, strerror(r));
        pid = -1;
    }
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
