/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One connection to xl-aligned listen, from the first byte to the last. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "xl-cmds/cmds.h"
#include "session.h"

/* negotiation.md, sections 4 and 6 */
#define STOCK_SECONDS 3
#define LINGER_MS     1000

/* The signal with which the listener has ended the handshake. */
static volatile sig_atomic_t end_signal;

static void on_end(int signum)
{
    end_signal = signum;
}

/* Only delivered while waiting for a peer. */
static void listen_to_the_listener(void)
{
    const struct sigaction action = { .sa_handler = on_end };
    sigset_t blocked;

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGUSR1);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    sigprocmask(SIG_SETMASK, &blocked, NULL);
    signal(SIGCHLD, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
}

/* From here on the session ends with its xl. */
static void stop_listening(void)
{
    sigset_t none;

    signal(SIGTERM, SIG_DFL);
    signal(SIGUSR1, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int refuse(struct link *link, struct hello *hello,
                  enum hello_status status, const char *text)
{
    if (end_signal)
        text =
            end_signal == SIGTERM
                ? "this receiver is ending"
                : "too many connections, and this one has been shaking hands "
                  "for longest";
    report("%s: refused: %s", link->peer, text);
    if (link->open && hello->state != HELLO_REFUSED &&
        hello->state != HELLO_FAILED)
        negotiate_refuse(link, hello, end_signal ? HELLO_BUSY : status, text,
                         now_ms() + LINGER_MS);
    return STATUS_FAILED;
}

/* STATUS_OK: AGREED or STOCK. */
static int agree(const struct session *session, struct link *link,
                 struct hello *hello, int64_t deadline)
{
    const struct negotiate_times times = {
        .deadline = deadline,
        .stock_seconds = STOCK_SECONDS,
    };
    struct hello_offer offer;

    negotiate_offer(&offer, HELLO_RECEIVER, session->format);
    offer.refuse_stock |= !session->accept_stock;
    negotiate(link, hello, &offer, &times);
    if (hello->state == HELLO_AGREED || hello->state == HELLO_STOCK)
        return STATUS_OK;
    return refuse(link, hello, HELLO_POLICY,
                  link->error[0] && hello->state == HELLO_FAILED
                      ? link->error
                      : hello->error.text);
}

union space {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(2 * sizeof(int))];
};

int control_send_fds(int control, const int fds[2])
{
    union space space = { 0 };
    char yes = 1;
    struct iovec iov = { &yes, 1 };
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = space.bytes,
        .msg_controllen = sizeof(space.bytes),
    };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(header), fds, 2 * sizeof(int));
    return sendmsg(control, &message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

/* 0, or -1 if the listener refused: `why`. */
static int control_receive_fds(int control, int fds[2], char *why, size_t size)
{
    union space space;
    struct iovec iov = { why, size - 1 };
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = space.bytes,
        .msg_controllen = sizeof(space.bytes),
    };
    struct cmsghdr *header;
    ssize_t r;

    do {
        r = recvmsg(control, &message, MSG_CMSG_CLOEXEC);
    } while (r < 0 && errno == EINTR);
    if (r <= 0)
        r = snprintf(why, size, "the listener is gone");
    why[r] = '\0';
    header = why[0] == 1 ? CMSG_FIRSTHDR(&message) : NULL;
    if (!header || header->cmsg_type != SCM_RIGHTS ||
        header->cmsg_len != CMSG_LEN(2 * sizeof(int)))
        return -1;
    memcpy(fds, CMSG_DATA(header), 2 * sizeof(int));
    return 0;
}

/* Asks the listener to start xl, and links the pipes to it. */
static int start_xl(const struct session *session, struct link *link,
                    struct hello *hello, struct link *xl)
{
    struct session_request request = {
        .version = hello->version,
        .request = hello->request,
    };
    char why[400];
    int fds[2];

    memcpy(request.peer, link->peer, sizeof(request.peer));
    memcpy(request.subject, link->subject, sizeof(request.subject));
    if (send(session->control, &request, sizeof(request), MSG_NOSIGNAL) !=
            sizeof(request) ||
        control_receive_fds(session->control, fds, why, sizeof(why)) < 0)
        return refuse(link, hello, HELLO_BUSY, why);
    if (link_open_fds(xl, fds[0], fds[1], "xl") < 0)
        return refuse(link, hello, HELLO_BUSY, xl->error);
    stop_listening();
    return STATUS_OK;
}

static int carry(const struct session *session, struct link *link,
                 const struct hello *hello, struct link *xl)
{
    uint64_t sent = 0, received = 0;
    struct pump pump = {
        .a = xl,
        .b = link,
        .stall_seconds = session->stall_seconds,
        .a_to_b = &sent,
        .b_to_a = &received,
    };
    char why[700];
    int r;

    report("%s: receiving: stream v%u from %s", link->peer, hello->version,
           hello->peer);
    r = pump_run(&pump, why, sizeof(why));
    report("%s: %s: %" PRIu64 " bytes received%s%s", link->peer,
           r < 0 ? "broken off" : "ended", received, r < 0 ? ": " : "",
           r < 0 ? why : "");
    return r < 0 ? STATUS_FAILED : STATUS_OK;
}

int session_run(const struct session *session)
{
    int64_t deadline = now_ms() + session->handshake_seconds * 1000LL;
    static struct hello hello;
    static struct link link, xl;
    int status;

    listen_to_the_listener();
    if (privileges_drop(session->uid, session->gid) < 0 ||
        (session->confine && sandbox_enter() < 0)) {
        report("dropping privileges: %s", strerror(errno));
        return STATUS_FAILED;
    }
    if (session->carrier->accept(&link, session->fd, deadline,
                                 session->options) < 0) {
        /* No HELLO was exchanged. */
        status = refuse(&link, &hello, HELLO_POLICY, link.error);
        goto out;
    }
    status = end_signal ? refuse(&link, &hello, HELLO_BUSY, "")
                        : agree(session, &link, &hello, deadline);
    if (status)
        goto out;
    status = start_xl(session, &link, &hello, &xl);
    if (!status)
        status = carry(session, &link, &hello, &xl);
out:
    link_close(&xl);
    if (end_signal != SIGUSR1)
        link_linger(&link, now_ms() + LINGER_MS);
    link_close(&link);
    return status;
}
