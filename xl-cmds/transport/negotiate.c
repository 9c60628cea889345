/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Drives a HELLO over a link, against the clock. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "transport.h"

/* Another build may be one that a later version would look like. */
#ifndef NEGOTIATE_VERSION_MAX
#define NEGOTIATE_VERSION_MAX 3
#endif
#ifndef NEGOTIATE_FEATURES
#define NEGOTIATE_FEATURES (V3_MANDATORY_LZ4 | V3_MANDATORY_ZSTD)
#endif
#ifndef NEGOTIATE_REQUIRED
#define NEGOTIATE_REQUIRED 0
#endif
#ifndef NEGOTIATE_TEXT
#define NEGOTIATE_TEXT "xl-aligned " XL_ALIGNED_VERSION
#endif

void negotiate_offer(struct v3_hello_offer *offer, enum v3_hello_role role,
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

/* One attempt each way.  Whether anything moved. */
static bool step(struct link *link, struct v3_hello *hello)
{
    uint8_t data[V3_HELLO_MESSAGE_MAX];
    size_t want = v3_hello_want(hello);
    bool moved = false;
    ssize_t r;

    if (hello->out_length) {
        r = link->ops->write(link, hello->out, hello->out_length);
        if (r > 0) {
            v3_hello_sent(hello, r);
            moved = true;
        } else if (r < 0 && errno != EAGAIN) {
            /* What the peer said before it closed tells more. */
            v3_hello_sent(hello, hello->out_length);
            moved = true;
        }
    }
    if (!want)
        return moved;
    r = link->ops->read(link, data, want < sizeof(data) ? want :
                        sizeof(data));
    if (r > 0)
        v3_hello_push(hello, data, r);
    else if (r == 0 || errno != EAGAIN)
        v3_hello_end(hello);
    return moved || r >= 0 || errno != EAGAIN;
}

static int earlier(int64_t a, int64_t b, int64_t now)
{
    int64_t first = !a ? b : !b || a < b ? a : b;

    if (!first)
        return -1;
    return first > now ? first - now : 0;
}

static void wait_both(struct link *link, struct v3_hello *hello,
                      int timeout)
{
    struct pollfd fds[2] = {
        { .fd = link->in,
          .events = v3_hello_want(hello) ? link->read_events : 0 },
        { .fd = hello->out_length ? link->out : -1,
          .events = link->write_events },
    };

    poll(fds, 2, timeout);
}

void negotiate(struct link *link, struct v3_hello *hello,
               const struct v3_hello_offer *offer,
               const struct negotiate_times *times)
{
    int64_t begin = now_ms(), deadline = times->deadline, silent_until = 0;

    v3_hello_begin(hello, offer);
    if (!deadline && !times->from_first_octet)
        deadline = begin + times->seconds * 1000LL;
    if (times->stock_seconds && !offer->refuse_stock)
        silent_until = begin + times->stock_seconds * 1000LL;

    while (!v3_hello_over(hello) || hello->out_length) {
        bool moved = step(link, hello);
        int64_t now = now_ms();

        /* What is broken is not argued with. */
        if (hello->state == V3_HELLO_FAILED)
            return;
        if (!deadline && hello->in_length)
            deadline = now + times->seconds * 1000LL;
        if (silent_until && now >= silent_until) {
            silent_until = 0;
            if (v3_hello_silence(hello))
                return;
        }
        if (deadline && now >= deadline) {
            v3_hello_timeout(hello, (deadline - begin + 500) / 1000);
            return;
        }
        if (!moved)
            wait_both(link, hello, earlier(deadline, silent_until, now));
    }
}
