/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One connection to xl-aligned listen, from the first octet to the last. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmds.h"
#include "listener.h"

#define STOCK_SECONDS 3         /* negotiation.md, section 6 */

static int refuse(const struct link *link, const char *text)
{
    report("%s: refused: %s", link->peer, text);
    return STATUS_FAILED;
}

/* STATUS_OK: AGREED or STOCK. */
static int agree(const struct session *session, struct link *link,
                 struct v3_hello *hello, int64_t deadline)
{
    const struct negotiate_times times = {
        .deadline = deadline,
        .stock_seconds = STOCK_SECONDS,
    };
    struct v3_hello_offer offer;

    negotiate_offer(&offer, V3_HELLO_RECEIVER, session->format);
    offer.refuse_stock |= !session->accept_stock || session->busy;
    offer.refusal = session->busy;
    negotiate(link, hello, &offer, &times);
    if (hello->state == V3_HELLO_AGREED || hello->state == V3_HELLO_STOCK)
        return STATUS_OK;
    return refuse(link, link->error[0] && hello->state == V3_HELLO_FAILED ?
                  link->error : hello->error.text);
}

/* Has the listener start xl; the pipes to it are a link. */
static int start_xl(const struct session *session, const struct link *link,
                    const struct v3_hello *hello, struct link *xl)
{
    struct session_request request = {
        .version = hello->version,
        .request = hello->request,
    };
    int fds[2];

    memcpy(request.peer, link->peer, sizeof(request.peer));
    if (send(session->control, &request, sizeof(request),
             MSG_NOSIGNAL) != sizeof(request) ||
        control_receive_fds(session->control, fds) < 0)
        return refuse(link, "the listener does not start xl");
    if (link_open_fds(xl, fds[0], fds[1], "xl") < 0)
        return refuse(link, xl->error);
    return STATUS_OK;
}

static int carry(struct link *link, const struct v3_hello *hello,
                 struct link *xl)
{
    uint64_t sent = 0, received = 0;
    struct pump pump = {
        .a = xl,
        .b = link,
        .a_to_b = &sent,
        .b_to_a = &received,
    };
    char why[700];
    int r;

    report("%s: receiving: stream v%u from %s", link->peer, hello->version,
           hello->peer);
    r = pump_run(&pump, why, sizeof(why));
    report("%s: %s: %" PRIu64 " octets received%s%s", link->peer,
           r < 0 ? "broken off" : "ended", received, r < 0 ? ": " : "",
           r < 0 ? why : "");
    return r < 0 ? STATUS_FAILED : STATUS_OK;
}

int session_run(const struct session *session)
{
    int64_t deadline = now_ms() + session->handshake_seconds * 1000LL;
    static struct v3_hello hello;
    static struct link link, xl;
    int status;

    signal(SIGPIPE, SIG_IGN);
    if (privileges_drop(session->uid, session->gid) < 0 ||
        (session->confine && sandbox_enter() < 0)) {
        report("dropping privileges: %s", strerror(errno));
        return STATUS_FAILED;
    }
    if (session->transport->accept(&link, session->fd, deadline,
                                   session->options) < 0) {
        status = refuse(&link, link.error);
        goto out;
    }
    status = agree(session, &link, &hello, deadline);
    if (status)
        goto out;
    status = start_xl(session, &link, &hello, &xl);
    if (!status)
        status = carry(&link, &hello, &xl);
out:
    link_close(&xl);
    link_close(&link);
    return status;
}
