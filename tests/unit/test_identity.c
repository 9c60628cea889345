/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ALIGNED_IDENTITY, from the encoder's options to the decoder's lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "synthetic.h"

/* Through a pipe: a stream that is not rewritten needs no commit. */
static size_t encode(const char *identity, uint8_t *bytes, size_t room,
                     struct xensave_error *error)
{
    struct bytes v2 = synthetic_stream(PAGES_ALTERNATING, 1, 8, 3);
    const struct xensave_encoder_options options = {
        .size = sizeof(options),
        .format = XENSAVE_FORMAT_V3,
        .identity = identity,
    };
    struct xensave_encoder *encoder;
    struct xensave_sink *sink;
    ssize_t length = 0;
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    assert_true(fcntl(fds[1], F_SETPIPE_SZ, 1 << 18) > 0);
    sink = xensave_sink_open_stream(fds[1], error);
    assert_non_null(sink);
    encoder = xensave_encoder_new(sink, &options);
    if (encoder) {
        if (xensave_encoder_push(encoder, v2.data, v2.length))
            fail_msg("%s", error->text);
        length = read(fds[0], bytes, room);
    }
    xensave_encoder_free(encoder);
    xensave_sink_free(sink);
    close(fds[0]);
    close(fds[1]);
    free(v2.data);
    return length;
}

/* The identity as the decoder gives it (malloc), or NULL. */
static char *decode(const uint8_t *bytes, size_t length,
                    struct xensave_error *error)
{
    struct xensave_source *source = xensave_source_open_memory(bytes, length,
                                                               0, error);
    struct xensave_decoder *decoder = xensave_decoder_new(source);
    const char *identity;
    uint8_t out[4096];
    char *copy = NULL;

    assert_non_null(decoder);
    while (xensave_decoder_read_some(decoder, out, sizeof(out)) > 0)
        ;
    identity = xensave_decoder_identity(decoder);
    if (identity)
        copy = strdup(identity);
    xensave_decoder_free(decoder);
    xensave_source_free(source);
    return copy;
}

static void what_is_written_is_read(void **state)
{
    static const char *const identities[] = {
        "",
        "name=\n",
        "name=web-1\nmemory_kib=4096\nkey_of_2030=a=b ; c\n",
        "host=Z\xc3\xbcrich\n",
    };
    static uint8_t bytes[1 << 18];
    struct xensave_error error;
    char most[4097], *seen;
    size_t length;

    (void)state;
    memset(most, 'x', sizeof(most));
    memcpy(most, "name=", 5);
    strcpy(most + 4095, "\n");
    for (size_t i = 0; i < 5; i++) {
        const char *identity = i < 4 ? identities[i] : most;

        length = encode(identity, bytes, sizeof(bytes), &error);
        assert_true(length);
        seen = decode(bytes, length, &error);
        assert_string_equal(error.text, "");
        assert_non_null(seen);
        assert_string_equal(seen, identity);
        free(seen);
    }
    length = encode(NULL, bytes, sizeof(bytes), &error);
    assert_null(decode(bytes, length, &error));
    assert_string_equal(error.text, "");
}

static void bad_ones_are_refused(void **state)
{
    static const char *const identities[] = {
        "name=a",
        "name\n",
        "=a\n",
        "Name=a\n",
        "na me=a\n",
        "\n",
        "name=a\nname=b\n",
        "name=a\tb\n",
        "name=\x7f\n",
        "name=\xc2\x85\n",
        "name=\xff\n",
        "name=\xed\xa0\x80\n",
        "a23456789012345678901234567890_2=\n",
    };
    static uint8_t bytes[1 << 18];
    struct xensave_error error;
    char most[4098];

    (void)state;
    for (size_t i = 0; i < sizeof(identities) / sizeof(identities[0]); i++) {
        if (encode(identities[i], bytes, sizeof(bytes), &error))
            fail_msg("\"%s\" was written", identities[i]);
        assert_int_equal(error.errnum, EINVAL);
    }
    memset(most, 'x', sizeof(most));
    memcpy(most, "name=", 5);
    strcpy(most + 4096, "\n");
    assert_int_equal(encode(most, bytes, sizeof(bytes), &error), 0);
    assert_int_equal(error.errnum, EINVAL);
}

static void values_are_found_by_their_key(void **state)
{
    const char *identity = "name=web\nhost=\nuuid=1\n", *value;
    size_t length = 0;

    (void)state;
    value = xensave_identity_value(identity, "uuid", &length);
    assert_ptr_equal(value, identity + 20);
    assert_int_equal(length, 1);
    assert_non_null(xensave_identity_value(identity, "host", &length));
    assert_int_equal(length, 0);
    assert_null(xensave_identity_value(identity, "nam", &length));
    assert_null(xensave_identity_value(identity, "web", &length));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(bad_ones_are_refused),
        cmocka_unit_test(values_are_found_by_their_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
