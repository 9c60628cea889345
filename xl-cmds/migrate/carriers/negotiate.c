/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs the HELLO exchange over a link, with a deadline. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "carrier.h"

#define FLUSH_MS 10000 /* for what is left to be sent */

/* Tests build other versions, with later features. */
#ifndef NEGOTIATE_VERSION_MAX
#define NEGOTIATE_VERSION_MAX 3
#endif
#ifndef NEGOTIATE_FEATURES
#define NEGOTIATE_FEATURES (XENSAVE_MANDATORY_LZ4 | XENSAVE_MANDATORY_ZSTD)
#endif
#ifndef NEGOTIATE_REQUIRED
#define NEGOTIATE_REQUIRED 0
#endif
#ifndef NEGOTIATE_TEXT
#define NEGOTIATE_TEXT "xl-aligned " XL_ALIGNED_VERSION
#endif

void negotiate_offer(struct hello_offer *offer, enum hello_role role,
                     const char *format)
{
    memset(offer, 0, sizeof(*offer));
    offer->role = role;
    offer->version_min = 2;
    offer->version_max = NEGOTIATE_VERSION_MAX;
    offer->features = NEGOTIATE_FEATURES;
    offer->required = NEGOTIATE_REQUIRED;
    offer->text = NEGOTIATE_TEXT;
    if (format && !strcmp(format, "v2"))
        offer->version_max = 2;
    if (format && !strcmp(format, "v3")) {
        offer->version_min = 3;
        offer->refuse_stock = true;
    }
}

/* One attempt in each direction; true if anything moved. */
static bool step(struct link *link, struct hello *hello)
{
    uint8_t data[HELLO_MESSAGE_MAX];
    size_t want = hello_want(hello);
    bool moved = false, broken = link->error[0];
    ssize_t r;

    if (hello->out_length) {
        r = link->ops->write(link, hello->out, hello->out_length);
        if (r > 0) {
            hello_sent(hello, r);
            moved = true;
        } else if (r < 0 && errno != EAGAIN) {
            /* The last message of the peer is more specific. */
            if (!broken)
                link->error[0] = '\0';
            hello_sent(hello, hello->out_length);
            moved = true;
        }
    }
    if (!want)
        return moved;
    r = link->ops->read(link, data, want < sizeof(data) ? want : sizeof(data));
    if (r > 0)
        hello_push(hello, data, r);
    else if (r == 0 || errno != EAGAIN)
        hello_end(hello);
    return moved || r >= 0 || errno != EAGAIN;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return !a ? b : !b || a < b ? a : b;
}

static int wait_both(struct link *link, struct hello *hello, int64_t deadline)
{
    struct pollfd fds[2] = {
        { .fd = link->in,
          .events = hello_want(hello) ? link->read_events : 0 },
        { .fd = hello->out_length ? link->out : -1,
          .events = link->write_events },
    };

    return wait_for_any(fds, 2, deadline);
}

static void flush(struct link *link, struct hello *hello, int64_t deadline)
{
    while (hello->out_length) {
        if (!step(link, hello) && wait_both(link, hello, deadline))
            return;
    }
}

void negotiate(struct link *link, struct hello *hello,
               const struct hello_offer *offer,
               const struct negotiate_times *times)
{
    int64_t begin = now_ms(), deadline = times->deadline, silent_until = 0;

    hello_begin(hello, offer);
    if (!deadline && !times->from_first_byte)
        deadline = begin + times->seconds * 1000LL;
    if (times->stock_seconds && !offer->refuse_stock)
        silent_until = begin + times->stock_seconds * 1000LL;

    while (!hello_over(hello)) {
        bool moved = step(link, hello);
        int64_t now = now_ms();

        if (hello_over(hello))
            break;
        if (!deadline && hello->in_length)
            deadline = now + times->seconds * 1000LL;
        if (silent_until && now >= silent_until) {
            silent_until = 0;
            hello_silence(hello);
        } else if (deadline && now >= deadline) {
            hello_timeout(hello, (deadline - begin + 500) / 1000);
        } else if (!moved &&
                   wait_both(link, hello, earlier(deadline, silent_until)) &&
                   errno == EINTR) {
            return;
        }
    }
    flush(link, hello, now_ms() + FLUSH_MS);
}

void negotiate_refuse(struct link *link, struct hello *hello,
                      enum hello_status status, const char *text,
                      int64_t deadline)
{
    hello_refuse(hello, status, text);
    flush(link, hello, deadline);
}

void negotiate_turn_away(int fd, const char *why)
{
    const struct hello_offer offer = { .role = HELLO_RECEIVER };
    static struct hello hello;

    hello_begin(&hello, &offer);
    hello_refuse(&hello, HELLO_BUSY, why);
    send(fd, hello.out, hello.out_length, MSG_DONTWAIT | MSG_NOSIGNAL);
}
