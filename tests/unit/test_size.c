/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How large a stream can get, and what its buffers cost a forked child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "stream-v3/savefile/savefile.h"
#include "synthetic.h"

#define BATCHES 8U
#define GIB     (1ULL << 30)

static uint64_t encoded(enum xensave_format format, enum synthetic_pages pages)
{
    const struct xensave_encoder_options options = {
        .size = sizeof(struct xensave_encoder_options), .format = format
    };
    struct bytes stream = synthetic_stream(pages, BATCHES, XENSAVE_BATCH_MAX,
                                           1);
    int fd = scratch_file();
    struct xensave_io_options io = { .size = sizeof(struct xensave_io_options),
                                     .io = XENSAVE_IO_BUFFERED };
    struct xensave_error error;
    struct xensave_sink *sink = xensave_sink_open_file(fd, &io, &error);
    struct xensave_encoder *encoder;
    struct xensave_totals totals;

    assert_non_null(sink);
    encoder = xensave_encoder_new(sink, &options);
    assert_non_null(encoder);
    assert_int_equal(xensave_encoder_push(encoder, stream.data, stream.length),
                     0);
    xensave_encoder_totals(encoder, &totals);
    xensave_encoder_free(encoder);
    xensave_sink_free(sink);
    free(stream.data);
    close(fd);
    return totals.bytes;
}

static void test_most(void **state)
{
    static const enum xensave_format formats[] = {
        XENSAVE_FORMAT_V2,
        XENSAVE_FORMAT_COMPAT,
        XENSAVE_FORMAT_V3,
    };
    /* Of the records around the batches. */
    const uint64_t others = 64 << 10;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        uint64_t most = xensave_encoder_most(formats[i],
                                             BATCHES * XENSAVE_BATCH_MAX, 0);
        uint64_t is = encoded(formats[i], PAGES_FULL);

        assert_in_range(is, most - most / 1000, most + others);
        assert_in_range(encoded(formats[i], PAGES_MIXED_TYPES), 1,
                        most + others);
        /* A volume with 1 GiB to spare holds 256 GiB of memory. */
        assert_in_range(xensave_encoder_most(formats[i],
                                             256 * GIB / XENSAVE_V2_PAGE_SIZE,
                                             4 * GIB / XENSAVE_V2_PAGE_SIZE),
                        256 * GIB, 256 * GIB * 1.003 + (9 << 20));
    }
}

static void test_buffers_are_not_forked(void **state)
{
    struct xensave_buffers buffers;
    struct xensave_error error;
    int status;
    pid_t pid;

    (void)state;
    assert_int_equal(xensave_buffers_alloc(&buffers, 4, 1 << 20, &error), 0);
    memset(buffers.base, 1, buffers.length);
    pid = fork();
    if (!pid) {
        unsigned char resident;

        /* Not there at all: ENOMEM. */
        _exit(mincore(buffers.base, 4096, &resident) ? errno : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), ENOMEM);
    xensave_buffers_free(&buffers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_most),
        cmocka_unit_test(test_buffers_are_not_forked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
