/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the plugin says of a stream is what its library in the helper reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "operation/stream_plan.h"

static void test_round_trip(void **state)
{
    static const struct stream_plan plans[] = {
        { .fd = 7, .format = XENSAVE_FORMAT_V2 },
        { .fd = 0, .format = XENSAVE_FORMAT_COMPAT, .head_padding = 7 },
        { .fd = 9,
          .restore = true,
          .io.io = XENSAVE_IO_BUFFERED,
          .io.engine = XENSAVE_ENGINE_THREAD,
          .progress = "/proc/1/fd/3" },
        { .fd = 2147483647,
          .format = XENSAVE_FORMAT_V3,
          .io = { .io = XENSAVE_IO_WINDOW,
                  .engine = XENSAVE_ENGINE_URING,
                  .reserve = 1ULL << 40 },
          .compression = { XENSAVE_CODEC_LZ4, 12, false } },
        { .fd = 3,
          .format = XENSAVE_FORMAT_V3,
          .compression = { XENSAVE_CODEC_ZSTD, 3, true },
          .progress = "/proc/4194304/fd/1023" },
    };
    char text[STREAM_PLAN_MAX], why[256];
    struct stream_plan read;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
        assert_int_equal(stream_plan_format(&plans[i], text, sizeof(text)), 0);
        memset(&read, 0xff, sizeof(read));
        assert_int_equal(stream_plan_parse(&read, text, why, sizeof(why)), 0);
        assert_int_equal(read.fd, plans[i].fd);
        assert_int_equal(read.restore, plans[i].restore);
        assert_int_equal(read.format, plans[i].format);
        assert_int_equal(read.io.io, plans[i].io.io);
        assert_int_equal(read.io.engine, plans[i].io.engine);
        assert_int_equal(read.io.reserve, plans[i].io.reserve);
        assert_int_equal(read.compression.codec, plans[i].compression.codec);
        assert_int_equal(read.compression.level, plans[i].compression.level);
        assert_int_equal(read.compression.all, plans[i].compression.all);
        assert_int_equal(read.head_padding, plans[i].head_padding);
        assert_string_equal(read.progress, plans[i].progress);
        assert_int_equal(stream_plan_format(&plans[i], text, strlen(text)),
                         -1);
    }
}

static void test_helper_arguments(void **state)
{
    char *argv[] = { "helper", "--save-domain", "5", "-1", "3", "0", "0", "0",
                     NULL };

    (void)state;
    assert_false(helper_mode(8, argv)->restore);
    assert_true(helper_is_plain(8, argv));
    assert_null(helper_mode(7, argv));
    argv[HELPER_MODE] = "--restore-domain";
    assert_null(helper_mode(8, argv));
    assert_null(helper_mode(1, argv));
    argv[7] = "1";
    assert_false(helper_is_plain(8, argv));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_helper_arguments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
