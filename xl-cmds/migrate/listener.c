/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The loop of xl-aligned listen: accepts connections, starts a session for
 * each, and starts xl when a session asks for it.  Nothing that peers send is
 * read here.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/text.h"
#include "listener.h"
#include "session.h"

static volatile sig_atomic_t ending, reloading;

static void on_signal(int signum)
{
    if (signum == SIGHUP)
        reloading = 1;
    else if (signum == SIGTERM || signum == SIGINT)
        ending = 1;
}

/* The other ends of its stdin and stdout go to the session. */
static pid_t start_xl(const struct listener *listener, uint32_t request,
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

/* ---- requests of sessions ----------------------------------------------- */

static void answer(struct listener *listener, size_t index)
{
    struct child *child = &listener->children[index], *xl;
    struct session_request request;
    const char *why;
    char text[400];
    ssize_t r;
    pid_t pid;

    r = recv(child->control, &request, sizeof(request), MSG_DONTWAIT);
    if (r != sizeof(request) || child->asked || child->ending) {
        /* The end of the session, or a malformed request. */
        close(child->control);
        child->control = -1;
        return;
    }
    child->asked = true;
    request.peer[sizeof(request.peer) - 1] = '\0';
    request.subject[sizeof(request.subject) - 1] = '\0';
    text_printable(child->peer, sizeof(child->peer), request.peer,
                   strlen(request.peer));
    why = children_refuse_domain(listener, request.subject, text,
                                 sizeof(text));
    if (!why) {
        pid = start_xl(listener, request.request & HELLO_REQUESTS, child->peer,
                       child->control);
        if (pid < 0)
            why = "this host cannot start xl now; its log says why";
    }
    if (why) {
        send(child->control, why, strlen(why), MSG_NOSIGNAL);
        return;
    }
    child->xl = pid;
    child->deadline = 0;
    xl = child_add(listener, pid, true, child->peer);
    memcpy(xl->subject, request.subject, sizeof(xl->subject));
}

/* ---- connections -------------------------------------------------------- */

static void become_session(const struct listener *listener, int fd,
                           int control, const struct carrier *carrier)
{
    const struct session session = {
        .fd = fd,
        .control = control,
        .carrier = carrier,
        .options = &listener->options,
        .format = listener->format,
        .handshake_seconds = listener->handshake_seconds,
        .stall_seconds = listener->stall_seconds,
        .accept_stock = carrier->trusted || listener->stock,
        .uid = listener->uid,
        .gid = listener->gid,
        .confine = listener->confine,
    };
    size_t i;

    setsid();
    close(listener->reserve);
    for (i = 0; i < listener->socket_count; i++)
        close(listener->sockets[i].fd);
    for (i = 0; i < listener->child_count; i++) {
        if (listener->children[i].control >= 0)
            close(listener->children[i].control);
    }
    _exit(session_run(&session));
}

/* Short enough for the socket to take it at once. */
static void turn_away(const struct carrier *carrier, int fd, const char *peer,
                      const char *why)
{
    char data[4096];

    report("%s: refused: %s", peer, why);
    carrier->turn_away(fd, why);
    shutdown(fd, SHUT_WR);
    while (recv(fd, data, sizeof(data), MSG_DONTWAIT) > 0) {
    }
    close(fd);
}

static bool is_out_of_descriptors(int errnum)
{
    return errnum == EMFILE || errnum == ENFILE;
}

/* Closing the reserve frees a descriptor to refuse a connection with. */
static void refuse_one(struct listener *listener,
                       const struct listening *socket)
{
    int fd;

    close(listener->reserve);
    fd = accept4(socket->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        turn_away(socket->carrier, fd, socket->carrier->name,
                  "this host has no file descriptor left");
    else if (is_out_of_descriptors(errno))
        usleep(100000);
    listener->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void take_connection(struct listener *listener,
                            const struct listening *socket)
{
    struct link who = { .peer = "unix" };
    int control[2] = { -1, -1 }, fd;
    struct child *child;
    pid_t pid = -1;

    if (socket->carrier->prepare)
        credentials_refresh(listener);
    fd = accept4(socket->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        if (is_out_of_descriptors(errno))
            refuse_one(listener, socket);
        else if (errno == ENOMEM || errno == ENOBUFS)
            usleep(100000);
        return;
    }
    if (socket->carrier != &carrier_unix) {
        tcp_name_peer(&who, fd);
        socket_keep_alive(fd);
    }
    if (children_shaking(listener) >= 2 * listener->connections) {
        turn_away(socket->carrier, fd, who.peer, "too many connections");
        return;
    }
    children_make_room(listener);
    if (!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control)) {
        pid = fork();
        if (!pid) {
            close(control[0]);
            become_session(listener, fd, control[1], socket->carrier);
        }
        close(control[1]);
    }
    if (pid < 0) {
        report("%s: no session: %s", who.peer, strerror(errno));
        turn_away(socket->carrier, fd, who.peer,
                  "this host can start no session");
        if (control[0] >= 0)
            close(control[0]);
        return;
    }
    close(fd);
    child = child_add(listener, pid, false, who.peer);
    child->control = control[0];
    child->order = listener->accepted++;
    snprintf(child->address, sizeof(child->address), "%.*s",
             (int)(strrchr(who.peer, ':') ? strrchr(who.peer, ':') - who.peer
                                          : 63),
             who.peer);
}

/* ---- the loop ----------------------------------------------------------- */

static void one_round(struct listener *listener, const sigset_t *mask)
{
    size_t children = listener->child_count, i;
    size_t sockets = ending ? 0 : listener->socket_count;
    const struct timespec second = { 1, 0 };
    struct pollfd fds[sockets + children + 1];
    bool expiring = children_expire(listener);

    for (i = 0; i < sockets; i++)
        fds[i] = (struct pollfd){ .fd = listener->sockets[i].fd,
                                  .events = POLLIN };
    for (i = 0; i < children; i++)
        fds[sockets + i] = (struct pollfd){
            .fd = listener->children[i].control, .events = POLLIN
        };
    if (ppoll(fds, sockets + children, expiring ? &second : NULL, mask) > 0) {
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

static void reload(struct listener *listener)
{
    reloading = 0;
    if (credentials_load(listener))
        report("warning: going on with the old certificates and lists");
    else
        report("certificates and lists are read again");
}

int listener_serve(struct listener *listener)
{
    static const int signums[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1 };
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
    listener->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (i = 0; i < listener->socket_count; i++)
        fcntl(listener->sockets[i].fd, F_SETFL,
              fcntl(listener->sockets[i].fd, F_GETFL) | O_NONBLOCK);
    report("listening on %zu socket%s", listener->socket_count,
           listener->socket_count == 1 ? "" : "s");
    while (!ending) {
        one_round(listener, &mask);
        if (reloading)
            reload(listener);
    }
    for (i = 0; i < listener->socket_count; i++)
        close(listener->sockets[i].fd);
    /* Domains that are arriving may finish; handshakes are ended. */
    children_end(listener);
    if (count_xl(listener))
        report("waiting for %u domains that are arriving", count_xl(listener));
    while (listener->child_count)
        one_round(listener, &mask);
    return STATUS_OK;
}
