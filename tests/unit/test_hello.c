/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* HELLO: agreement, refusal, stock peers, and peers that are hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <xxhash.h>

#include "operation/hello.h"

#define HEADER sizeof(struct hello_header)
#define BIT(n) (1ULL << (n))

static struct hello_offer offer_of(enum hello_role role, bool first)
{
    const struct hello_offer offer = {
        .role = role,
        .first = first,
        .version_min = 2,
        .version_max = 3,
        .text = "test 1.0",
    };

    return offer;
}

/* What `from` has to say goes to `to`, at most `step` bytes at a time. */
static bool carry(struct hello *from, struct hello *to, size_t step)
{
    bool moved = false;
    size_t length;

    while ((length = from->out_length)) {
        if (hello_want(to) < length)
            length = hello_want(to);
        if (length > step)
            length = step;
        if (!length)
            return moved;
        hello_push(to, from->out, length);
        hello_sent(from, length);
        moved = true;
    }
    return moved;
}

static void converse(struct hello *a, struct hello *b, size_t step)
{
    bool moved;

    do {
        moved = carry(a, b, step);
        moved |= carry(b, a, step);
    } while (moved);
}

struct pair {
    struct hello_offer offers[2];
    struct hello sender, receiver;
};

static struct pair pair_new(bool sender_first)
{
    return (struct pair){
        .offers = { offer_of(HELLO_SENDER, sender_first),
                    offer_of(HELLO_RECEIVER, !sender_first) },
    };
}

static void assert_text(const struct hello *hello, const char *text)
{
    if (!strstr(hello->error.text, text))
        fail_msg("\"%s\" is not in \"%s\"", text, hello->error.text);
}

static void assert_state(const struct hello *hello, enum hello_state state)
{
    if (hello->state != state)
        fail_msg("state %d, not %d: %s", hello->state, state,
                 hello->error.text);
}

static void pair_run(struct pair *pair, size_t step)
{
    hello_begin(&pair->sender, &pair->offers[0]);
    hello_begin(&pair->receiver, &pair->offers[1]);
    converse(&pair->sender, &pair->receiver, step);
    /* What follows is xl's. */
    if (pair->receiver.state == HELLO_AGREED) {
        assert_state(&pair->sender, HELLO_WAIT_BANNER);
        while (step && hello_want(&pair->sender))
            hello_push(&pair->sender, HELLO_BANNER + pair->sender.in_length,
                       1);
    }
}

/* ---- agreement ---------------------------------------------------------- */

static void agree(void **unused)
{
    static const size_t steps[] = { 1, 2, 7, 23, 24, 25, 4096 };

    (void)unused;
    for (size_t i = 0; i < 2 * sizeof(steps) / sizeof(steps[0]); i++) {
        struct pair pair = pair_new(i & 1);

        pair.offers[0].request = HELLO_PAUSE | HELLO_STAY;
        pair_run(&pair, steps[i / 2]);
        assert_state(&pair.sender, HELLO_AGREED);
        assert_state(&pair.receiver, HELLO_AGREED);
        assert_int_equal(pair.sender.version, 3);
        assert_int_equal(pair.receiver.version, 3);
        assert_int_equal(pair.receiver.request, HELLO_PAUSE | HELLO_STAY);
        assert_string_equal(pair.receiver.peer, "test 1.0");
        assert_int_equal(hello_want(&pair.sender), 0);
        assert_int_equal(pair.sender.out_length, 0);
        assert_int_equal(pair.receiver.out_length, 0);
    }
}

struct outcome_case {
    uint16_t min[2], max[2];
    uint64_t features[2], required[2];
    uint16_t version; /* 0: refused, and both texts have `text` */
    uint64_t common;
    const char *text;
};

static void outcomes(void **unused)
{
    static const struct outcome_case cases[] = {
        /* A newer peer that offers what this end does not know. */
        { { 2, 2 }, { 3, 4 }, { 0, BIT(17) }, { 0, 0 }, 3, 0, NULL },
        { { 2, 2 }, { 3, 9 }, { 3, 7 }, { 0, 2 }, 3, 3, NULL },
        { { 2, 2 }, { 2, 3 }, { 0, 3 }, { 0, 0 }, 2, 0, NULL },
        { { 3, 2 }, { 3, 2 }, .text = "no common stream version" },
        { { 2, 4 }, { 3, 5 }, .text = "takes 4 to 5" },
        { { 2, 2 },
          { 3, 4 },
          { 0, BIT(17) },
          { 0, BIT(17) },
          0,
          0,
          "DEDUP (bit 17)" },
        { { 2, 2 }, { 3, 4 }, { 0, BIT(63) }, { 0, BIT(63) }, 0, 0, "bit 63" },
        { { 2, 2 }, { 3, 3 }, { 2, 0 }, { 2, 0 }, 0, 0, "ZSTD" },
        /* No feature is left in version 2. */
        { { 2, 2 }, { 2, 3 }, { 1, 1 }, { 0, 1 }, 0, 0, "LZ4" },
    };
    size_t i, turn;

    (void)unused;
    for (i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
        const struct outcome_case *c = &cases[i / 2];
        struct pair pair = pair_new(i & 1);
        int side;

        for (side = 0; side < 2; side++) {
            /* Each case from both sides. */
            turn = side ^ (i & 1);
            pair.offers[side].version_min = c->min[turn];
            pair.offers[side].version_max = c->max[turn];
            pair.offers[side].features = c->features[turn];
            pair.offers[side].required = c->required[turn];
            pair.offers[side].text = "test 1.0\nfeature 17 DEDUP\nx\n";
        }
        pair_run(&pair, 4096);
        if (c->version) {
            assert_state(&pair.sender, HELLO_AGREED);
            assert_state(&pair.receiver, HELLO_AGREED);
            assert_int_equal(pair.sender.version, c->version);
            assert_int_equal(pair.receiver.features, c->common);
        } else {
            assert_state(&pair.sender, HELLO_REFUSED);
            assert_state(&pair.receiver, HELLO_REFUSED);
            assert_text(&pair.sender, c->text);
            assert_text(&pair.receiver, c->text);
        }
    }
}

static void unknown_request(void **unused)
{
    struct pair pair = pair_new(true);

    (void)unused;
    pair.offers[0].request = 8;
    pair_run(&pair, 4096);
    assert_state(&pair.receiver, HELLO_REFUSED);
    assert_state(&pair.sender, HELLO_REFUSED);
    assert_text(&pair.sender, "bits 0x8");
}

static void refusal_of_the_callers(void **unused)
{
    struct pair pair = pair_new(true);

    (void)unused;
    /* Instead of HELLO, and instead of the banner. */
    for (int agreed = 0; agreed < 2; agreed++) {
        hello_begin(&pair.sender, &pair.offers[0]);
        hello_begin(&pair.receiver, &pair.offers[1]);
        if (agreed) {
            converse(&pair.sender, &pair.receiver, 5);
            assert_state(&pair.receiver, HELLO_AGREED);
            assert_state(&pair.sender, HELLO_WAIT_BANNER);
        }
        hello_refuse(&pair.receiver, HELLO_BUSY,
                     "four domains are arriving \xc3\xa4lready");
        converse(&pair.sender, &pair.receiver, 5);
        assert_state(&pair.sender, HELLO_REFUSED);
        assert_text(&pair.sender,
                    "(status 5): four domains are arriving ??lready");
    }
}

/* ---- stock peers -------------------------------------------------------- */

static void stock_receiver(void **unused)
{
    const char banner[] = HELLO_BANNER;
    struct hello_offer offer = offer_of(HELLO_SENDER, false);
    struct hello *hello = calloc(1, sizeof(*hello));
    size_t i;
    int first;

    (void)unused;
    assert_int_equal(strlen(banner), 54);
    for (first = 0; first < 2; first++) {
        offer.first = first;
        hello_begin(hello, &offer);
        for (i = 0; i < 54; i++) {
            assert_state(hello, HELLO_WAIT_HELLO);
            hello_push(hello, banner + i, 1);
        }
        assert_state(hello, HELLO_STOCK);
        assert_int_equal(hello->version, 2);
        /* It is the caller's to hand on. */
        assert_int_equal(hello->in_length, 54);
        assert_memory_equal(hello->in, banner, 54);
        assert_int_equal(hello_want(hello), 0);
    }

    offer.refuse_stock = true;
    hello_begin(hello, &offer);
    while (hello_want(hello))
        hello_push(hello, banner + hello->in_length, 1);
    assert_state(hello, HELLO_REFUSED);
    assert_text(hello, "stock xl");
    free(hello);
}

static void almost_the_banner(void **unused)
{
    struct hello_offer offer = offer_of(HELLO_SENDER, false);
    struct hello *hello = calloc(1, sizeof(*hello));

    (void)unused;
    hello_begin(hello, &offer);
    hello_push(hello, "xl: command not found\n", 22);
    assert_state(hello, HELLO_FAILED);
    assert_text(hello, "xl: command not ");

    /* A receiver is not sent a banner. */
    offer.role = HELLO_RECEIVER;
    hello_begin(hello, &offer);
    hello_push(hello, HELLO_BANNER, 1);
    assert_state(hello, HELLO_FAILED);
    free(hello);
}

static void stock_sender(void **unused)
{
    struct hello_offer offer = offer_of(HELLO_RECEIVER, false);
    struct hello *hello = calloc(1, sizeof(*hello));

    (void)unused;
    hello_begin(hello, &offer);
    assert_true(hello_silence(hello));
    assert_state(hello, HELLO_STOCK);
    assert_int_equal(hello->out_length, 0);

    offer.refuse_stock = true;
    hello_begin(hello, &offer);
    assert_false(hello_silence(hello));
    hello_timeout(hello, 10);
    assert_state(hello, HELLO_FAILED);
    assert_text(hello, "no HELLO within 10 s");

    /* Who has said something is not stock. */
    offer.refuse_stock = false;
    hello_begin(hello, &offer);
    hello_push(hello, "X", 1);
    assert_false(hello_silence(hello));
    hello_timeout(hello, 10);
    assert_text(hello, "no whole HELLO within 10 s: 1 bytes");
    free(hello);
}

/* ---- hostile peers ------------------------------------------------------ */

/* A HELLO of a sender as it comes over the link; its length. */
static size_t sender_hello(uint8_t *message)
{
    struct hello_offer offer = offer_of(HELLO_SENDER, true);
    struct hello *hello = calloc(1, sizeof(*hello));
    size_t length;

    hello_begin(hello, &offer);
    length = hello->out_length;
    memcpy(message, hello->out, length);
    free(hello);
    return length;
}

static void seal(uint8_t *message)
{
    struct hello_header header;

    memcpy(&header, message, HEADER);
    header.checksum = 0;
    memcpy(message, &header, HEADER);
    header.checksum = XXH3_64bits(message, HEADER + header.length);
    memcpy(message, &header, HEADER);
}

/* The peer learns what was wrong with what it sent. */
static void assert_told(struct hello *hello)
{
    struct hello_offer offer = offer_of(HELLO_SENDER, true);
    struct hello *sender = calloc(1, sizeof(*sender));
    char *shown = strstr(hello->error.text, "\\x");

    hello_begin(sender, &offer);
    carry(hello, sender, 4096);
    assert_state(sender, HELLO_REFUSED);
    assert_text(sender, "(status 6)");
    assert_true(shown || strstr(sender->error.text, hello->error.text));
    free(sender);
}

/* Feeds a receiver until it has enough, in steps. */
static struct hello *feed(const uint8_t *message, size_t length, size_t step)
{
    struct hello_offer offer = offer_of(HELLO_RECEIVER, false);
    struct hello *hello = calloc(1, sizeof(*hello));
    size_t at = 0, n;

    assert_non_null(hello);
    hello_begin(hello, &offer);
    while (at < length && hello_want(hello)) {
        n = hello_want(hello);
        n = n < step ? n : step;
        n = n < length - at ? n : length - at;
        hello_push(hello, message + at, n);
        at += n;
    }
    if (at == length)
        hello_end(hello);
    return hello;
}

struct damage {
    size_t offset, length;
    uint64_t value;
    const char *text;
};

static void bad_fields(void **unused)
{
    static const struct damage damages[] = {
        { 8, 4, 0, "unknown kind" },
        { 8, 4, 3, "unknown kind" },
        { 8, 4, 2, "RESULT whose text begins at byte 0" },
        { 12, 4, 39, "39 bytes; 40 to 4072" },
        { 12, 4, 4073, "4073 bytes" },
        { 12, 4, UINT32_MAX, "4294967295 bytes" },
        { HEADER + 0, 2, 1, "impossible versions: 1 to 3" },
        { HEADER + 0, 2, 4, "impossible versions: 4 to 3" },
        { HEADER + 4, 4, 39, "text begins at byte 39" },
        { HEADER + 4, 4, 49, "text begins at byte 49 of 48" },
        { HEADER + 4, 4, UINT32_MAX, "text begins" },
        { HEADER + 16, 8, 1, "requires features (0x1)" },
        { HEADER + 32, 4, 2, "the peer is a receiver as well" },
        { HEADER + 32, 4, 0, "unknown role" },
    };
    uint8_t message[2 * HELLO_MESSAGE_MAX];
    size_t i, length;

    (void)unused;
    for (i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        const struct damage *d = &damages[i];
        struct hello *hello;

        memset(message, 0, sizeof(message));
        length = sender_hello(message);
        assert_int_equal(length, HEADER + 48);
        memcpy(message + d->offset, &d->value, d->length);
        if (d->offset != 12)
            seal(message);
        hello = feed(message, length, 4096);
        assert_state(hello, HELLO_FAILED);
        assert_text(hello, d->text);
        assert_told(hello);
        free(hello);
    }
}

static void every_flipped_bit_is_found(void **unused)
{
    uint8_t message[HELLO_MESSAGE_MAX];
    size_t length, bit;

    (void)unused;
    length = sender_hello(message);
    for (bit = 0; bit < 8 * length; bit++) {
        struct hello *hello;

        message[bit / 8] ^= 1 << bit % 8;
        hello = feed(message, length, 1 + bit % 30);
        assert_state(hello, HELLO_FAILED);
        assert_told(hello);
        free(hello);
        message[bit / 8] ^= 1 << bit % 8;
    }
}

static void every_cut_is_found(void **unused)
{
    uint8_t message[HELLO_MESSAGE_MAX];
    size_t length, cut;

    (void)unused;
    length = sender_hello(message);
    for (cut = 0; cut < length; cut++) {
        struct hello *hello = feed(message, cut, 4096);

        assert_state(hello, HELLO_FAILED);
        assert_text(hello, cut ? "inside HELLO" : "before HELLO");
        free(hello);
    }
}

static void garbage_ends_at_once(void **unused)
{
    static const char *const texts[] = {
        "GET / HTTP/1.1\r\n\r\n",
        "SSH-2.0-OpenSSH",
        "XENHELL0",
        "\x16\x03\x01\x02\x01\x00\x01\xfc\x03\x03",
        "\xff\xff\xff\xff",
    };
    struct hello_offer offer = offer_of(HELLO_RECEIVER, false);
    struct hello *hello = calloc(1, sizeof(*hello));
    size_t i, at;

    (void)unused;
    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        hello_begin(hello, &offer);
        for (at = 0; texts[i][at] && hello_want(hello); at++)
            hello_push(hello, texts[i] + at, 1);
        assert_state(hello, HELLO_FAILED);
        assert_int_equal(at, i == 2 ? 8 : 1);
        assert_text(hello, i == 3 ? "TLS client" : "garbage");
        assert_null(strpbrk(hello->error.text, "\r\n\xff"));
    }
    free(hello);
}

/* Longer fixed parts, unknown lines: from a later version of the protocol. */
static void later_fields_are_skipped(void **unused)
{
    static const char text[] = "xl-aligned 9.9\x1b[31m\nlater thing\n";
    uint8_t message[HELLO_MESSAGE_MAX];
    struct hello_header header;
    uint32_t text_offset = 80;
    struct hello *hello;

    (void)unused;
    memset(message, 0xaa, sizeof(message));
    sender_hello(message);
    memcpy(&header, message, HEADER);
    header.length = text_offset + strlen(text);
    memcpy(message, &header, HEADER);
    memcpy(message + HEADER + 4, &text_offset, 4);
    memcpy(message + HEADER + text_offset, text, strlen(text));
    seal(message);
    hello = feed(message, HEADER + header.length, 3);
    assert_text(hello, "before RESULT");
    assert_int_equal(hello->version, 3);
    assert_string_equal(hello->peer, "xl-aligned 9.9\\x1b[31m");
    free(hello);

    /* As long as it may be, and all of it text without an end. */
    header.length = HELLO_BODY_MAX;
    memcpy(message, &header, HEADER);
    seal(message);
    hello = feed(message, HELLO_MESSAGE_MAX, 100);
    assert_text(hello, "before RESULT");
    free(hello);
}

static void results_must_agree(void **unused)
{
    struct xensave_result_body body = {
        .version = 2,
        .text_offset = sizeof(body),
    };
    struct hello_header header = {
        .kind = HELLO_KIND_RESULT,
        .length = sizeof(body),
    };
    uint8_t message[HELLO_MESSAGE_MAX];
    struct hello *hello;
    size_t length;

    (void)unused;
    memcpy(header.magic, HELLO_MAGIC, 8);
    length = sender_hello(message);
    memcpy(message + length, &header, HEADER);
    memcpy(message + length + HEADER, &body, sizeof(body));
    seal(message + length);
    hello = feed(message, length + HEADER + sizeof(body), 4096);
    assert_state(hello, HELLO_FAILED);
    assert_text(hello, "differs");
    free(hello);

    /* A refusal without a word, of a kind that is not known. */
    body.status = 77;
    memcpy(message + length + HEADER, &body, sizeof(body));
    seal(message + length);
    hello = feed(message, length + HEADER + sizeof(body), 1);
    assert_state(hello, HELLO_REFUSED);
    assert_text(hello, "status 77");
    free(hello);
}

static uint32_t noise_state;

static uint32_t noise(void)
{
    noise_state = noise_state * 1664525 + 1013904223;
    return noise_state >> 8;
}

/* Well-sealed messages with arbitrary contents. */
static void noise_ends_in_order(void **unused)
{
    uint8_t message[HELLO_MESSAGE_MAX];
    struct hello_header header;

    (void)unused;
    noise_state = 5;
    for (int i = 0; i < 20000; i++) {
        size_t length = sender_hello(message), n = noise() % 6;
        struct hello *hello;

        while (n--)
            message[HEADER + noise() % (length - HEADER)] = noise();
        if (noise() % 4 == 0)
            message[8 + noise() % 8] = noise();
        memcpy(&header, message, HEADER);
        if (header.length <= HELLO_BODY_MAX)
            seal(message);
        hello = feed(message, length, 1 + noise() % 80);
        assert_true(hello_over(hello));
        assert_true(hello->state == HELLO_FAILED ||
                    hello->state == HELLO_REFUSED);
        assert_true(strlen(hello->error.text) > 0);
        free(hello);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agree),
        cmocka_unit_test(outcomes),
        cmocka_unit_test(unknown_request),
        cmocka_unit_test(refusal_of_the_callers),
        cmocka_unit_test(stock_receiver),
        cmocka_unit_test(almost_the_banner),
        cmocka_unit_test(stock_sender),
        cmocka_unit_test(bad_fields),
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(every_cut_is_found),
        cmocka_unit_test(garbage_ends_at_once),
        cmocka_unit_test(later_fields_are_skipped),
        cmocka_unit_test(results_must_agree),
        cmocka_unit_test(noise_ends_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
