/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * HELLO: what the two ends of a migration agree on before xl's banner
 * (docs/spec/negotiation.md; "spec N" below names its sections).
 *
 * This is the exchange without any input or output: the caller moves octets
 * between a struct v3_hello and the link, and keeps the time.
 */
#ifndef STREAM_V3_HELLO_H
#define STREAM_V3_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xensave.h"

/* ---- spec 3: the octets ------------------------------------------------- */

struct v3_hello_header {
    uint8_t magic[8];
    uint32_t kind;
    uint32_t length;
    uint64_t checksum;
};
#define V3_HELLO_MAGIC          "XENHELLO"
#define V3_HELLO_KIND_HELLO     1U
#define V3_HELLO_KIND_RESULT    2U
#define V3_HELLO_MESSAGE_MAX    4096U
#define V3_HELLO_BODY_MAX \
    (V3_HELLO_MESSAGE_MAX - (uint32_t)sizeof(struct v3_hello_header))

struct v3_hello_body {
    uint16_t version_min;
    uint16_t version_max;
    uint32_t text_offset;
    uint64_t features;
    uint64_t required;
    uint64_t optional;
    uint32_t role;
    uint32_t request;
};

struct v3_result_body {
    uint32_t status;
    uint16_t version;
    uint16_t reserved1;
    uint32_t text_offset;
    uint32_t reserved2;
    uint64_t features;
    uint64_t optional;
};

enum v3_hello_role {
    V3_HELLO_SENDER = 1,
    V3_HELLO_RECEIVER = 2,
};

#define V3_HELLO_PAUSE          1U
#define V3_HELLO_DEBUG          2U
#define V3_HELLO_STAY           4U
#define V3_HELLO_REQUESTS       (V3_HELLO_PAUSE | V3_HELLO_DEBUG | \
                                 V3_HELLO_STAY)

enum v3_hello_status {
    V3_HELLO_OK,
    V3_HELLO_NO_VERSION,
    V3_HELLO_NO_FEATURE,
    V3_HELLO_BAD_REQUEST,
    V3_HELLO_POLICY,
    V3_HELLO_BUSY,
    V3_HELLO_BROKEN,
};

/* The first octets of a receiver that knows nothing of this. */
#define V3_HELLO_BANNER \
    "xl migration receiver ready, send binary domain data.\n"

/* ---- the exchange ------------------------------------------------------ */

/* What one end says of itself. */
struct v3_hello_offer {
    enum v3_hello_role role;
    bool first;                 /* spec 2: speaks without being spoken to */
    bool refuse_stock;          /* the banner, or silence, is not enough */
    uint16_t version_min, version_max;
    uint64_t features, required, optional;
    uint32_t request;
    const char *text;           /* program and version; "feature N NAME"s */
};

enum v3_hello_state {
    V3_HELLO_WAIT_HELLO,
    V3_HELLO_WAIT_RESULT,
    V3_HELLO_WAIT_BANNER,       /* a sender that has agreed */
    /* From here on the exchange is over. */
    V3_HELLO_AGREED,
    V3_HELLO_STOCK,
    V3_HELLO_REFUSED,           /* `error` says by whom and why */
    V3_HELLO_FAILED,            /* `error` says why */
};

struct v3_hello {
    struct v3_hello_offer offer;
    enum v3_hello_state state;
    struct v3_error error;
    /* Of the outcome, and what the peer said. */
    uint16_t version;
    uint64_t features, optional;
    uint32_t request;
    char peer[64];              /* its program, printable */
    /* Octets for the link; the caller takes them from the front. */
    uint8_t out[2 * V3_HELLO_MESSAGE_MAX];
    size_t out_length;
    /* The message (or the banner) that is arriving. */
    uint8_t in[V3_HELLO_MESSAGE_MAX];
    size_t in_length;
    size_t in_want;             /* its length, as far as it is known */
};

void v3_hello_begin(struct v3_hello *hello,
                    const struct v3_hello_offer *offer);
static inline bool v3_hello_over(const struct v3_hello *hello)
{
    return hello->state >= V3_HELLO_AGREED;
}
/*
 * How many more octets may be read from the link: never one that does not
 * belong to the exchange.  0 once it is over.
 */
size_t v3_hello_want(const struct v3_hello *hello);
/*
 * `length` octets of the link, at most v3_hello_want().  What is to be sent
 * then is in `out`, also if this ended the exchange.
 */
void v3_hello_push(struct v3_hello *hello, const void *data, size_t length);
/* The end of the link. */
void v3_hello_end(struct v3_hello *hello);
/*
 * The peer has been silent for as long as a stock sender is given: true if it
 * counts as one.
 */
bool v3_hello_silence(struct v3_hello *hello);
/* The deadline has passed. */
void v3_hello_timeout(struct v3_hello *hello, unsigned seconds);
/*
 * Refuses, whatever came before.  A receiver may do so even if it has AGREED,
 * as long as there is no banner.
 */
void v3_hello_refuse(struct v3_hello *hello, enum v3_hello_status status,
                     const char *text);
/* `length` octets of `out` are on the link. */
void v3_hello_sent(struct v3_hello *hello, size_t length);

#endif /* STREAM_V3_HELLO_H */
