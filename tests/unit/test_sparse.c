/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Holes: what is skipped reads as zero, takes no room, and moves nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "synthetic.h"

#define LENGTH_MAX (24U << 20)

static size_t stripe, writes, straddling;

ssize_t __real_pwrite(int fd, const void *data, size_t length, off_t at);
ssize_t __wrap_pwrite(int fd, const void *data, size_t length, off_t at);
ssize_t __wrap_pwrite(int fd, const void *data, size_t length, off_t at)
{
    if (stripe && length) {
        writes++;
        straddling += at / stripe != (at + length - 1) / stripe;
    }
    return __real_pwrite(fd, data, length, at);
}

struct image {
    uint8_t *data;
    size_t length;
};

static void fill(uint8_t *data, size_t length)
{
    for (size_t i = 0; i < length; i++)
        data[i] = 1 + rand() % 255;
}

/* Pieces and holes of all sizes, unaligned ones among them. */
static void write_randomly(struct xensave_sink *sink, struct image *image,
                           unsigned steps)
{
    static const unsigned sizes[] = {
        1, 4096, 16384, 70000, 1 << 20, 3 << 20
    };

    while (steps--) {
        size_t most = sizes[rand() % 6], part = 1 + rand() % most;

        if (rand() % 2)
            part = (part + 4095) & -4096UL;
        if (image->length + part > LENGTH_MAX)
            return;
        if (rand() % 2) {
            assert_int_equal(xensave_sink_skip(sink, part), 0);
            memset(image->data + image->length, 0, part);
        } else {
            fill(image->data + image->length, part);
            assert_int_equal(xensave_sink_write(sink,
                                                image->data + image->length,
                                                part),
                             0);
        }
        image->length += part;
    }
}

static void check(int fd, const struct image *image)
{
    struct bytes file = slurp(fd);

    assert_int_equal(file.length, image->length);
    assert_memory_equal(file.data, image->data, image->length);
    free(file.data);
}

static void one_file(const struct xensave_io_options *options, unsigned start,
                     unsigned seed)
{
    struct image image = { malloc(LENGTH_MAX), start };
    int fd = scratch_file();
    struct xensave_error error;
    struct xensave_sink *sink;

    srand(seed);
    fill(image.data, start);
    assert_int_equal(pwrite(fd, image.data, start, 0), start);
    lseek(fd, start, SEEK_SET);
    sink = xensave_sink_open_file(fd, options, &error);
    assert_non_null(sink);
    write_randomly(sink, &image, 40);
    assert_int_equal(xensave_sink_offset(sink), image.length);
    if (xensave_sink_finish(sink))
        fail_msg("%s", error.text);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), image.length);
    xensave_sink_free(sink);
    check(fd, &image);
    close(fd);
    free(image.data);
}

static void every_manner(void **state)
{
    static const unsigned starts[] = { 0, 4096, 777 };
    struct xensave_io_options options = XENSAVE_IO_OPTIONS_INIT;
    unsigned seed = 1;

    (void)state;
    for (options.io = XENSAVE_IO_AUTO; options.io <= XENSAVE_IO_BUFFERED;
         options.io++)
        for (options.engine = XENSAVE_ENGINE_AUTO;
             options.engine <= XENSAVE_ENGINE_THREAD; options.engine++)
            for (size_t i = 0; i < 3; i++) {
                options.buffer_size = i == 1 ? 65536 : 0;
                one_file(&options, starts[i], seed++);
            }
}

/* A write behind a hole begins where a stripe does, as all others. */
static void no_write_straddles_a_stripe(void **state)
{
    struct xensave_io_options options = {
        .size = sizeof(options),
        .engine = XENSAVE_ENGINE_THREAD,
        .buffer_size = 65536,
    };

    (void)state;
    stripe = options.buffer_size;
    for (unsigned seed = 1; seed < 9; seed++)
        one_file(&options, 777 * seed, seed);
    assert_true(writes > 100);
    assert_int_equal(straddling, 0);
    stripe = 0;
}

static void holes_take_no_room(void **state)
{
    int fd = scratch_file();
    uint8_t *page = malloc(4096);
    struct xensave_error error;
    struct xensave_sink *sink;
    struct stat st;

    (void)state;
    fill(page, 4096);
    sink = xensave_sink_open_file(fd, NULL, &error);
    assert_non_null(sink);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(xensave_sink_write(sink, page, 4096), 0);
        assert_int_equal(xensave_sink_skip(sink, (1 << 20) - 4096), 0);
    }
    assert_int_equal(xensave_sink_finish(sink), 0);
    xensave_sink_free(sink);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 64 << 20);
    assert_true(st.st_blocks * 512 < 4 << 20);
    free(page);
    close(fd);
}

/* Bytes of an earlier life of the file must not shine through. */
static void skip_over_old_bytes(void **state)
{
    struct image image = { malloc(LENGTH_MAX), 0 };
    int fd = scratch_file();
    struct xensave_error error;
    struct xensave_sink *sink;

    (void)state;
    fill(image.data, 1 << 20);
    assert_int_equal(pwrite(fd, image.data, 1 << 20, 0), 1 << 20);
    sink = xensave_sink_open_file(fd, NULL, &error);
    assert_non_null(sink);
    assert_int_equal(xensave_sink_skip(sink, 4 << 20), 0);
    assert_int_equal(xensave_sink_finish(sink), 0);
    xensave_sink_free(sink);
    memset(image.data, 0, 4 << 20);
    image.length = 4 << 20;
    check(fd, &image);
    close(fd);
    free(image.data);
}

static void memory(void **state)
{
    struct image image = { malloc(LENGTH_MAX), 0 };
    struct xensave_error error;
    struct xensave_sink *sink;
    size_t length;
    void *data;

    (void)state;
    srand(5);
    sink = xensave_sink_open_memory(0, &data, &length, &error);
    assert_non_null(sink);
    write_randomly(sink, &image, 30);
    assert_int_equal(xensave_sink_finish(sink), 0);
    assert_int_equal(length, image.length);
    assert_memory_equal(data, image.data, length);
    xensave_sink_free(sink);
    free(data);
    free(image.data);
}

static void socket_pair(void **state)
{
    struct image image = { malloc(LENGTH_MAX), 0 };
    int ends[2], copy = scratch_file(), status;
    struct xensave_error error;
    struct xensave_sink *sink;
    char buffer[65536];
    ssize_t r;
    pid_t pid;

    (void)state;
    srand(6);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    pid = fork();
    if (!pid) {
        close(ends[0]);
        while ((r = read(ends[1], buffer, sizeof(buffer))) > 0)
            if (write(copy, buffer, r) != r)
                _exit(1);
        _exit(r != 0);
    }
    close(ends[1]);
    sink = xensave_sink_open_stream(ends[0], &error);
    assert_non_null(sink);
    write_randomly(sink, &image, 30);
    assert_int_equal(xensave_sink_finish(sink), 0);
    xensave_sink_free(sink);
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    check(copy, &image);
    close(copy);
    free(image.data);
}

static void nothing_after_the_end(void **state)
{
    int fd = scratch_file();
    struct xensave_error error;
    struct xensave_sink *sink = xensave_sink_open_file(fd, NULL, &error);

    (void)state;
    assert_int_equal(xensave_sink_finish(sink), 0);
    assert_int_equal(xensave_sink_skip(sink, 4096), -1);
    xensave_sink_free(sink);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_manner),
        cmocka_unit_test(no_write_straddles_a_stripe),
        cmocka_unit_test(holes_take_no_room),
        cmocka_unit_test(skip_over_old_bytes),
        cmocka_unit_test(memory),
        cmocka_unit_test(socket_pair),
        cmocka_unit_test(nothing_after_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
