/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdarg.h>
#include <xxhash.h>

#include "common/text.h"
#include "hello.h"
#include "stream-v3/internal.h"

_Static_assert(sizeof(struct hello_header) == 24, "spec 3");
_Static_assert(sizeof(struct hello_body) == 40, "spec 3.1");
_Static_assert(sizeof(struct xensave_result_body) == 32, "spec 3.2");

#define BANNER_LENGTH (sizeof(HELLO_BANNER) - 1)
#define TEXT_MAX      512 /* of ours */

static const struct xensave_name kinds[] = {
    { HELLO_KIND_HELLO, "HELLO" },
    { HELLO_KIND_RESULT, "RESULT" },
};

/* Mandatory features of the stream that have a name in its specification. */
static const struct xensave_name feature_names[] = {
    { 0, "LZ4" },
    { 1, "ZSTD" },
};

/* ---- text of the peer -------------------------------------- */

/* One line of a text, which is not terminated. */
static bool next_line(const char **at, const char *end, const char **line,
                      size_t *length)
{
    const char *newline;

    if (*at >= end)
        return false;
    *line = *at;
    newline = memchr(*at, '\n', end - *at);
    *length = (newline ? newline : end) - *at;
    *at += *length + 1;
    return true;
}

/* ---- failing ------------------------------------------------------------ */

static void put_result(struct hello *hello, uint32_t status, const char *text);
static void fail(struct hello *hello, int errnum, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void fail(struct hello *hello, int errnum, const char *format, ...)
{
    char text[sizeof(hello->error.text)];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    xensave_fail(&hello->error, errnum, "%s", text);
    hello->state = HELLO_FAILED;
    /* A stock receiver would take a message for the stream. */
    if (hello->offer.role == HELLO_RECEIVER)
        put_result(hello, HELLO_BROKEN, text);
    else
        hello->out_length = 0;
}

/* The name of the awaited message. */
static const char *awaited(const struct hello *hello)
{
    return hello->state == HELLO_WAIT_BANNER   ? "the banner of xl"
           : hello->state == HELLO_WAIT_RESULT ? "RESULT"
                                               : "HELLO";
}

/* HELLO, RESULT, and a second RESULT that revokes it (spec 4). */
_Static_assert(3 * (sizeof(struct hello_header) + sizeof(struct hello_body) +
                    TEXT_MAX) <=
                   sizeof(((struct hello *)0)->out),
               "messages fit");

/* ---- sending ------------------------------------------------------------ */

static void put_message(struct hello *hello, uint32_t kind, const void *body,
                        size_t length, const char *text)
{
    size_t text_length = strnlen(text, TEXT_MAX);
    struct hello_header header = {
        .kind = kind,
        .length = length + text_length,
    };
    uint8_t *message = hello->out + hello->out_length;
    size_t total = sizeof(header) + header.length, i;

    memcpy(header.magic, HELLO_MAGIC, sizeof(header.magic));
    memcpy(message, &header, sizeof(header));
    memcpy(message + sizeof(header), body, length);
    for (i = 0; i < text_length; i++)
        message[sizeof(header) + length + i] = (text[i] >= 0x20 &&
                                                text[i] < 0x7f) ||
                                                       text[i] == '\n'
                                                   ? text[i]
                                                   : '?';
    header.checksum = XXH3_64bits(message, total);
    memcpy(message, &header, sizeof(header));
    hello->out_length += total;
}

static void put_hello(struct hello *hello)
{
    const struct hello_offer *offer = &hello->offer;
    const struct hello_body body = {
        .version_min = offer->version_min,
        .version_max = offer->version_max,
        .text_offset = sizeof(body),
        .features = offer->features,
        .required = offer->required,
        .optional = offer->optional,
        .role = offer->role,
        .request = offer->request,
    };

    put_message(hello, HELLO_KIND_HELLO, &body, sizeof(body), offer->text);
}

static void put_result(struct hello *hello, uint32_t status, const char *text)
{
    struct xensave_result_body body = {
        .status = status,
        .text_offset = sizeof(body),
    };

    if (status == HELLO_OK) {
        body.version = hello->version;
        body.features = hello->features;
        body.optional = hello->optional;
    }
    put_message(hello, HELLO_KIND_RESULT, &body, sizeof(body), text);
}

static void refuse(struct hello *hello, uint32_t status, const char *format,
                   ...) __attribute__((format(printf, 3, 4)));

static void refuse(struct hello *hello, uint32_t status, const char *format,
                   ...)
{
    char text[TEXT_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    put_result(hello, status, text);
    xensave_fail(&hello->error, EPROTO, "%s", text);
    hello->state = HELLO_REFUSED;
}

/* ---- the outcome, spec 4 ------------------------------------------------ */

/* The name that the peer gives bit `bit` in its text, or NULL. */
static bool peer_name(const char *text, size_t length, unsigned bit,
                      char *name, size_t size)
{
    const char *at = text, *line, *end = text + length;
    size_t line_length;
    char prefix[32];
    int prefix_length;

    prefix_length = snprintf(prefix, sizeof(prefix), "feature %u ", bit);
    while (next_line(&at, end, &line, &line_length)) {
        if (line_length > (size_t)prefix_length && line_length <= 48 &&
            !memcmp(line, prefix, prefix_length)) {
            text_printable(name, size, line + prefix_length,
                           line_length - prefix_length);
            return true;
        }
    }
    return false;
}

/* "LZ4, DEDUP (17), 23" */
static void name_features(char *to, size_t size, uint64_t bits,
                          const char *text, size_t length)
{
    const char *known, *separator = "";
    char name[200];
    size_t used = 0;
    unsigned bit;

    to[0] = '\0';
    for (bit = 0; bit < 64 && used < size; bit++) {
        if (!(bits >> bit & 1))
            continue;
        known = xensave_name_of(feature_names, ARRAY_SIZE(feature_names), bit);
        if (known)
            used += snprintf(to + used, size - used, "%s%s", separator, known);
        else if (peer_name(text, length, bit, name, sizeof(name)))
            used += snprintf(to + used, size - used, "%s%s (bit %u)",
                             separator, name, bit);
        else
            used += snprintf(to + used, size - used, "%sbit %u", separator,
                             bit);
        separator = ", ";
    }
}

static void judge(struct hello *hello, const struct hello_body *peer,
                  const char *text, size_t length)
{
    const struct hello_offer *own = &hello->offer;
    uint64_t common = own->features & peer->features, missing;
    char names[256];

    hello->version = own->version_max < peer->version_max ? own->version_max
                                                          : peer->version_max;
    if (hello->version < own->version_min ||
        hello->version < peer->version_min) {
        refuse(hello, HELLO_NO_VERSION,
               "no common stream version: this end supports %u to %u, the "
               "peer %u to %u",
               own->version_min, own->version_max, peer->version_min,
               peer->version_max);
        return;
    }
    if (hello->version >= 3) {
        hello->features = common;
        hello->optional = own->optional & peer->optional;
    }
    missing = peer->required & ~hello->features;
    if (missing) {
        name_features(names, sizeof(names), missing, text, length);
        refuse(hello, HELLO_NO_FEATURE,
               "the peer requires a feature "
               "that is missing here: %s",
               names);
        return;
    }
    missing = own->required & ~hello->features;
    if (missing) {
        name_features(names, sizeof(names), missing, own->text,
                      strlen(own->text));
        refuse(hello, HELLO_NO_FEATURE,
               "the peer lacks a feature that "
               "is required here: %s",
               names);
        return;
    }
    if (own->role == HELLO_RECEIVER && (peer->request & ~HELLO_REQUESTS)) {
        refuse(hello, HELLO_BAD_REQUEST,
               "the sender sets unknown request bits: 0x%x",
               peer->request & ~HELLO_REQUESTS);
        return;
    }
    hello->request = peer->request;
    put_result(hello, HELLO_OK, "");
    hello->state = HELLO_WAIT_RESULT;
}

/* ---- receiving ---------------------------------------------------------- */

static void on_hello(struct hello *hello, const void *body, const char *text,
                     size_t length)
{
    const struct hello_body *peer = body;
    const char *at = text, *line;
    size_t line_length;

    if (next_line(&at, text + length, &line, &line_length))
        text_printable(hello->peer, sizeof(hello->peer), line, line_length);
    if (peer->role == (uint32_t)hello->offer.role)
        fail(hello, EPROTO, "the peer is a %s too",
             hello->offer.role == HELLO_SENDER ? "sender" : "receiver");
    else if (peer->role != HELLO_SENDER && peer->role != HELLO_RECEIVER)
        fail(hello, EBADMSG, "HELLO with an unknown role: %u", peer->role);
    else if (peer->version_min < 2 || peer->version_min > peer->version_max)
        fail(hello, EBADMSG, "HELLO with invalid versions: %u to %u",
             peer->version_min, peer->version_max);
    else if (peer->required & ~peer->features)
        fail(hello, EBADMSG,
             "HELLO that requires features (0x%" PRIx64
             ") which it does not offer (0x%" PRIx64 ")",
             peer->required, peer->features);
    if (hello_over(hello))
        return;
    if (!hello->offer.first)
        put_hello(hello);
    judge(hello, peer, text, length);
}

static void on_result(struct hello *hello, const void *body, const char *text,
                      size_t length)
{
    const struct xensave_result_body *result = body;
    char reason[256] = "";

    if (result->status != HELLO_OK) {
        text_printable(reason, sizeof(reason), text, length);
        xensave_fail(&hello->error, EPROTO,
                     "refused by the peer (status %u): %s", result->status,
                     reason[0] ? reason : "no reason given");
        hello->state = HELLO_REFUSED;
        return;
    }
    if (result->version != hello->version ||
        result->features != hello->features ||
        result->optional != hello->optional) {
        fail(hello, EBADMSG,
             "RESULT of the peer (version %u, features 0x%" PRIx64
             ", 0x%" PRIx64 ") differs from this end's (version %u, "
             "0x%" PRIx64 ", 0x%" PRIx64 ")",
             result->version, result->features, result->optional,
             hello->version, hello->features, hello->optional);
        return;
    }
    hello->state = hello->offer.role == HELLO_SENDER ? HELLO_WAIT_BANNER
                                                     : HELLO_AGREED;
}

static const struct message {
    uint32_t kind;
    enum hello_state state; /* in which it may come */
    size_t fixed;
    size_t text_offset; /* place of that field in the body */
    void (*take)(struct hello *hello, const void *body, const char *text,
                 size_t length);
} messages[] = {
    { HELLO_KIND_HELLO, HELLO_WAIT_HELLO, sizeof(struct hello_body),
      offsetof(struct hello_body, text_offset), on_hello },
    { HELLO_KIND_RESULT, HELLO_WAIT_RESULT, sizeof(struct xensave_result_body),
      offsetof(struct xensave_result_body, text_offset), on_result },
};

static const struct message *find_message(uint32_t kind)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(messages); i++) {
        if (messages[i].kind == kind)
            return &messages[i];
    }
    return NULL;
}

static const char *kind_name(uint32_t kind)
{
    const char *name = xensave_name_of(kinds, ARRAY_SIZE(kinds), kind);

    return name ? name : "a message of an unknown kind";
}

/* Checks the header and sets the length of the message. */
static void check_header(struct hello *hello)
{
    const struct message *message;
    struct hello_header header;

    memcpy(&header, hello->in, sizeof(header));
    message = find_message(header.kind);
    /* A refusal may come instead of HELLO, from a busy listener say. */
    if (!message ||
        (message->state != hello->state && header.kind != HELLO_KIND_RESULT)) {
        fail(hello, EBADMSG, "received %s (%u) instead of %s",
             kind_name(header.kind), header.kind, awaited(hello));
        return;
    }
    if (header.length < message->fixed || header.length > HELLO_BODY_MAX) {
        fail(hello, EBADMSG,
             "%s with a body of %u bytes; %zu to %u are "
             "allowed",
             kind_name(header.kind), header.length, message->fixed,
             HELLO_BODY_MAX);
        return;
    }
    hello->in_want = sizeof(header) + header.length;
}

static void take_message(struct hello *hello)
{
    /* Aligned for the widest field. */
    union {
        uint64_t alignment;
        uint8_t bytes[HELLO_BODY_MAX];
    } body;
    const struct message *message;
    struct hello_header header;
    uint64_t checksum;
    uint32_t text_offset;

    memcpy(&header, hello->in, sizeof(header));
    checksum = header.checksum;
    memset(hello->in + offsetof(struct hello_header, checksum), 0,
           sizeof(header.checksum));
    if (XXH3_64bits(hello->in, hello->in_want) != checksum) {
        fail(hello, EBADMSG, "%s with a wrong checksum",
             kind_name(header.kind));
        return;
    }
    message = find_message(header.kind);
    memcpy(body.bytes, hello->in + sizeof(header), header.length);
    memcpy(&text_offset, body.bytes + message->text_offset,
           sizeof(text_offset));
    if (text_offset < message->fixed || text_offset > header.length) {
        fail(hello, EBADMSG, "%s whose text begins at byte %u of %u",
             kind_name(header.kind), text_offset, header.length);
        return;
    }
    if (message->state != hello->state &&
        ((struct xensave_result_body *)body.bytes)->status == HELLO_OK) {
        fail(hello, EBADMSG, "received RESULT instead of %s", awaited(hello));
        return;
    }
    hello->in_length = 0;
    hello->in_want = sizeof(header);
    message->take(hello, body.bytes, (char *)body.bytes + text_offset,
                  header.length - text_offset);
}

/* A receiver sends its banner instead of HELLO, or at the end. */
static bool may_be_banner(const struct hello *hello)
{
    return hello->state != HELLO_WAIT_RESULT &&
           hello->offer.role == HELLO_SENDER;
}

static void garbage(struct hello *hello)
{
    char shown[96];

    text_printable(shown, sizeof(shown), hello->in,
                   hello->in_length < 16 ? hello->in_length : 16);
    fail(hello, EBADMSG, "received garbage instead of %s: \"%s\"%s",
         awaited(hello), shown,
         hello->in[0] == 0x16 ? "; a TLS client, or a server that expects one?"
                              : "");
}

/* Whether the bytes so far are a prefix of `text`, or the other way round. */
static bool is_prefix(const struct hello *hello, const char *text,
                      size_t length)
{
    size_t n = hello->in_length < length ? hello->in_length : length;

    return !memcmp(hello->in, text, n);
}

static void take_banner(struct hello *hello)
{
    if (hello->state == HELLO_WAIT_BANNER) {
        hello->state = HELLO_AGREED;
        return;
    }
    if (hello->offer.refuse_stock) {
        xensave_fail(&hello->error, EPROTO,
                     "the receiver is a stock xl, which "
                     "reads stream version 2 only");
        hello->state = HELLO_REFUSED;
        return;
    }
    snprintf(hello->peer, sizeof(hello->peer), "stock xl");
    hello->version = 2;
    hello->state = HELLO_STOCK;
}

/* ---- the interface ------------------------------------------------------ */

void hello_begin(struct hello *hello, const struct hello_offer *offer)
{
    memset(hello, 0, sizeof(*hello));
    hello->offer = *offer;
    if (!hello->offer.text)
        hello->offer.text = "";
    hello->state = HELLO_WAIT_HELLO;
    hello->in_want = sizeof(struct hello_header);
    if (offer->first)
        put_hello(hello);
}

size_t hello_want(const struct hello *hello)
{
    return hello_over(hello) ? 0 : hello->in_want - hello->in_length;
}

void hello_push(struct hello *hello, const void *data, size_t length)
{
    const bool fresh = hello->in_length < sizeof(struct hello_header);
    const char *magic = HELLO_MAGIC;

    if (hello_over(hello) || length > hello_want(hello))
        return;
    memcpy(hello->in + hello->in_length, data, length);
    hello->in_length += length;
    if (!hello->in_length)
        return;

    if (may_be_banner(hello) && hello->in[0] == HELLO_BANNER[0]) {
        hello->in_want = BANNER_LENGTH;
        if (!is_prefix(hello, HELLO_BANNER, BANNER_LENGTH))
            garbage(hello);
        else if (hello->in_length == BANNER_LENGTH)
            take_banner(hello);
        return;
    }
    if (!is_prefix(hello, magic, strlen(magic))) {
        garbage(hello);
        return;
    }
    if (fresh && hello->in_length == sizeof(struct hello_header))
        check_header(hello);
    if (!hello_over(hello) && hello->in_length == hello->in_want)
        take_message(hello);
}

void hello_end(struct hello *hello)
{
    if (hello_over(hello))
        return;
    fail(hello, ENODATA, "the peer closed the link %s %s%s",
         hello->in_length ? "inside" : "before", awaited(hello),
         hello->state == HELLO_WAIT_HELLO && hello->offer.first &&
                 !hello->in_length
             ? ": it may not know HELLO"
             : "");
}

bool hello_silence(struct hello *hello)
{
    if (hello->state != HELLO_WAIT_HELLO || hello->in_length ||
        hello->offer.role != HELLO_RECEIVER || hello->offer.first ||
        hello->offer.refuse_stock)
        return false;
    snprintf(hello->peer, sizeof(hello->peer), "stock xl");
    hello->version = 2;
    hello->state = HELLO_STOCK;
    return true;
}

void hello_timeout(struct hello *hello, unsigned seconds)
{
    if (hello_over(hello))
        return;
    if (hello->in_length)
        fail(hello, ETIMEDOUT, "no complete %s within %u s, only %zu bytes",
             awaited(hello), seconds, hello->in_length);
    else
        fail(hello, ETIMEDOUT, "no %s within %u s", awaited(hello), seconds);
}

void hello_refuse(struct hello *hello, enum hello_status status,
                  const char *text)
{
    refuse(hello, status, "%s", text);
}

void hello_sent(struct hello *hello, size_t length)
{
    memmove(hello->out, hello->out + length, hello->out_length - length);
    hello->out_length -= length;
}
