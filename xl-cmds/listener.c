/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The loop of xl-aligned listen: accepts connections, hands each to a session,
 * and starts xl for those that ask for it.  Peers have no part in anything
 * here.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/text.h"
#include "listener.h"

static volatile sig_atomic_t ending;

static void on_signal(int signum)
{
    if (signum != SIGCHLD)
        ending = 1;
}

/* ---- requests of sessions ---------------------------------------------- */

static void answer(struct listener *listener, size_t index)
{
    struct child *child = &listener->children[index];
    struct session_request request;
    char peer[sizeof(child->peer)];
    ssize_t r;
    pid_t pid;

    r = recv(child->control, &request, sizeof(request), MSG_DONTWAIT);
    if (r != sizeof(request) || child->agreed) {
        /* Its end, or something that no session says. */
        close(child->control);
        child->control = -1;
        return;
    }
    child->agreed = true;
    request.peer[sizeof(request.peer) - 1] = '\0';
    text_printable(peer, sizeof(peer), request.peer,
                       strlen(request.peer));
    memcpy(child->peer, peer, sizeof(peer));
    if (count_xl(listener) >= listener->domains) {
        report("%s: refused: %u domains are arriving already", child->peer,
               listener->domains);
        send(child->control, "", 1, MSG_NOSIGNAL);
        return;
    }
    pid = arrival_start_xl(listener, request.request & V3_HELLO_REQUESTS, peer,
                           child->control);
    if (pid > 0)
        child_add(listener, pid, true, peer);
    else
        report("starting xl: %s", strerror(errno));
}

/* ---- connections ------------------------------------------------------- */

static void become_session(const struct listener *listener, int fd,
                           int control, const struct transport *transport,
                           const char *busy)
{
    const struct session session = {
        .fd = fd,
        .control = control,
        .transport = transport,
        .options = &listener->options,
        .format = listener->format,
        .handshake_seconds = listener->handshake_seconds,
        .accept_stock = transport->trusted || listener->stock,
        .busy = busy,
        .uid = listener->uid,
        .gid = listener->gid,
        .confine = listener->confine,
    };
    sigset_t none;
    size_t i;

    setsid();
    signal(SIGCHLD, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (i = 0; i < listener->socket_count; i++)
        close(listener->sockets[i].fd);
    for (i = 0; i < listener->child_count; i++) {
        if (listener->children[i].control >= 0)
            close(listener->children[i].control);
    }
    _exit(session_run(&session));
}

static void take_connection(struct listener *listener,
                            const struct listening *socket)
{
    int control[2], fd;
    struct child *child;
    struct link who = { .peer = "unix" };
    char busy[64];
    pid_t pid;

    fd = accept4(socket->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
            report("accept: %s", strerror(errno));
            usleep(100000);
        }
        return;
    }
    if (socket->transport != &transport_unix) {
        tcp_name_peer(&who, fd);
        socket_keep_alive(fd);
    }
    children_make_room(listener);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0) {
        report("%s: refused: %s", who.peer, strerror(errno));
        close(fd);
        return;
    }
    snprintf(busy, sizeof(busy), "%u domains are arriving already",
             listener->domains);
    pid = fork();
    if (!pid) {
        close(control[0]);
        become_session(listener, fd, control[1], socket->transport,
                       count_xl(listener) >= listener->domains ? busy :
                       NULL);
    }
    close(control[1]);
    close(fd);
    if (pid < 0) {
        report("%s: refused: fork: %s", who.peer, strerror(errno));
        close(control[0]);
        return;
    }
    child = child_add(listener, pid, false, who.peer);
    child->control = control[0];
    child->order = listener->accepted++;
}

/* ---- the loop ---------------------------------------------------------- */

static void one_round(struct listener *listener, const sigset_t *mask)
{
    size_t children = listener->child_count, i;
    size_t sockets = ending ? 0 : listener->socket_count;
    struct pollfd fds[sockets + children + 1];

    for (i = 0; i < sockets; i++)
        fds[i] = (struct pollfd){ .fd = listener->sockets[i].fd,
                                  .events = POLLIN };
    for (i = 0; i < children; i++)
        fds[sockets + i] = (struct pollfd){
            .fd = listener->children[i].control, .events = POLLIN };
    if (ppoll(fds, sockets + children, NULL, mask) > 0) {
        for (i = 0; i < children; i++) {
            if (fds[sockets + i].revents)
                answer(listener, i);
        }
        for (i = 0; i < sockets; i++) {
            if (fds[i].revents)
                take_connection(listener, &listener->sockets[i]);
        }
    }
    children_reap(listener);
}

int listener_serve(struct listener *listener)
{
    static const int signums[] = { SIGCHLD, SIGTERM, SIGINT };
    struct sigaction action = { .sa_handler = on_signal };
    sigset_t blocked, mask;
    size_t i;

    sigemptyset(&blocked);
    for (i = 0; i < sizeof(signums) / sizeof(signums[0]); i++) {
        sigaddset(&blocked, signums[i]);
        sigaction(signums[i], &action, NULL);
    }
    sigprocmask(SIG_BLOCK, &blocked, &mask);
    signal(SIGPIPE, SIG_IGN);
    for (i = 0; i < listener->socket_count; i++)
        fcntl(listener->sockets[i].fd, F_SETFL,
              fcntl(listener->sockets[i].fd, F_GETFL) | O_NONBLOCK);
    report("listening on %zu socket%s", listener->socket_count,
           listener->socket_count == 1 ? "" : "s");
    while (!ending)
        one_round(listener, &mask);
    for (i = 0; i < listener->socket_count; i++)
        close(listener->sockets[i].fd);
    /* What is arriving may arrive; who was only shaking hands goes. */
    for (i = 0; i < listener->child_count; i++) {
        if (!listener->children[i].is_xl && !listener->children[i].agreed)
            kill(listener->children[i].pid, SIGTERM);
    }
    if (count_xl(listener))
        report("waiting for %u domains that are arriving",
               count_xl(listener));
    while (listener->child_count)
        one_round(listener, &mask);
    return STATUS_OK;
}
