/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * HELLO: the negotiation of the two ends of a migration before xl's banner
 * (docs/spec/negotiation.md; "spec N" below names its sections).
 *
 * The protocol alone, without I/O: the caller moves bytes between a struct
 * hello and the link, and handles timeouts.
 */
#ifndef XENSAVE_HELLO_H
#define XENSAVE_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xensave.h"

/* ---- spec 3: the bytes ------------------------------------------------- */

struct hello_header {
    uint8_t magic[8];
    uint32_t kind;
    uint32_t length;
    uint64_t checksum;
};
#define HELLO_MAGIC       "XENHELLO"
#define HELLO_KIND_HELLO  1U
#define HELLO_KIND_RESULT 2U
#define HELLO_MESSAGE_MAX 4096U
#define HELLO_BODY_MAX \
    (HELLO_MESSAGE_MAX - (uint32_t)sizeof(struct hello_header))

struct hello_body {
    uint16_t version_min;
    uint16_t version_max;
    uint32_t text_offset;
    uint64_t features;
    uint64_t required;
    uint64_t optional;
    uint32_t role;
    uint32_t request;
};

struct xensave_result_body {
    uint32_t status;
    uint16_t version;
    uint16_t reserved1;
    uint32_t text_offset;
    uint32_t reserved2;
    uint64_t features;
    uint64_t optional;
};

enum hello_role {
    HELLO_SENDER = 1,
    HELLO_RECEIVER = 2,
};

#define HELLO_PAUSE    1U
#define HELLO_DEBUG    2U
#define HELLO_STAY     4U
#define HELLO_REQUESTS (HELLO_PAUSE | HELLO_DEBUG | HELLO_STAY)

enum hello_status {
    HELLO_OK,
    HELLO_NO_VERSION,
    HELLO_NO_FEATURE,
    HELLO_BAD_REQUEST,
    HELLO_POLICY,
    HELLO_BUSY,
    HELLO_BROKEN,
};

/* The first bytes of a receiver without this protocol. */
#define HELLO_BANNER "xl migration receiver ready, send binary domain data.\n"

/* ---- the exchange ------------------------------------------------------- */

/* The offer of one end. */
struct hello_offer {
    enum hello_role role;
    bool first;        /* spec 2: sends its HELLO unasked */
    bool refuse_stock; /* the banner, or silence, is not enough */
    uint16_t version_min, version_max;
    uint64_t features, required, optional;
    uint32_t request;
    const char *text; /* program and version; "feature N NAME"s */
};

enum hello_state {
    HELLO_WAIT_HELLO,
    HELLO_WAIT_RESULT,
    HELLO_WAIT_BANNER, /* a sender that has agreed */
    /* Final states. */
    HELLO_AGREED,
    HELLO_STOCK,
    HELLO_REFUSED, /* `error` says by whom and why */
    HELLO_FAILED,  /* `error` says why */
};

struct hello {
    struct hello_offer offer;
    enum hello_state state;
    struct xensave_error error;
    /* The outcome, and the peer's request and program. */
    uint16_t version;
    uint64_t features, optional;
    uint32_t request;
    char peer[64]; /* its program, printable */
    /* Bytes for the link; the caller takes them from the front. */
    uint8_t out[2 * HELLO_MESSAGE_MAX];
    size_t out_length;
    /* The message (or banner) being received. */
    uint8_t in[HELLO_MESSAGE_MAX];
    size_t in_length;
    size_t in_want; /* its length, as far as it is known */
};

void hello_begin(struct hello *hello, const struct hello_offer *offer);
static inline bool hello_over(const struct hello *hello)
{
    return hello->state >= HELLO_AGREED;
}
/*
 * How many more bytes may be read from the link, never past the end of the
 * exchange.  0 once it has ended.
 */
size_t hello_want(const struct hello *hello);
/*
 * Processes `length` bytes from the link, at most hello_want().  Replies are in
 * `out`, even if this ended the exchange.
 */
void hello_push(struct hello *hello, const void *data, size_t length);
/* The end of the link. */
void hello_end(struct hello *hello);
/*
 * The time allowed for a HELLO has passed without a byte: true if the peer is
 * taken for a stock sender.
 */
bool hello_silence(struct hello *hello);
/* The deadline has passed. */
void hello_timeout(struct hello *hello, unsigned seconds);
/*
 * Refuses in any state.  A receiver may do so even after HELLO_AGREED, until it
 * sends the banner.
 */
void hello_refuse(struct hello *hello, enum hello_status status,
                  const char *text);
/* `length` bytes of `out` have been sent. */
void hello_sent(struct hello *hello, size_t length);

#endif /* XENSAVE_HELLO_H */
