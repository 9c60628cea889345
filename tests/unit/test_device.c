/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ends within a block, lost writes, and what a disk holds at a power cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/core.h"
#include "synthetic.h"

#define MIB (1U << 20)
/* Ends 512 bytes into a block. */
#define ODD  (8 * MIB + 512)
#define FULL (8 * MIB + 8192)

static bool fsync_fails;
static uint8_t data[FULL];

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    int r = __real_fsync(fd);

    if (!fsync_fails)
        return r;
    fsync_fails = false;
    errno = EIO;
    return -1;
}

/* Of this many bytes; the test is skipped where there is none. */
static int device(off_t length, int *backing)
{
    int fd;

    *backing = scratch_file();
    assert_int_equal(ftruncate(*backing, length), 0);
    fd = loop_device(*backing);
    if (fd < 0) {
        close(*backing);
        skip();
    }
    return fd;
}

static const enum xensave_engine engines[] = { XENSAVE_ENGINE_URING,
                                               XENSAVE_ENGINE_THREAD };
#define ENGINES (sizeof(engines) / sizeof(engines[0]))

/* ---- ends within a block ------------------------------------------------ */

/* Whole blocks, more than fit: an error, and what fits is there. */
static void overfill(int fd, int backing, enum xensave_engine engine)
{
    struct xensave_io_options options = { .size = sizeof(
                                              struct xensave_io_options),
                                          .engine = engine,
                                          .buffer_size = 65536 };
    struct xensave_error error;
    struct xensave_sink *sink;
    struct bytes found;

    lseek(fd, 0, SEEK_SET);
    sink = xensave_sink_open_file(fd, &options, &error);
    assert_non_null(sink);
    if (!xensave_sink_write(sink, data, FULL))
        xensave_sink_finish(sink);
    xensave_sink_free(sink);
    assert_non_null(strstr(error.text, "cannot write to"));
    fsync(fd);
    found = slurp(backing);
    assert_int_equal(found.length, ODD);
    assert_memory_equal(found.data, data, ODD);
    free(found.data);
}

static void a_device_that_ends_within_a_block(void **state)
{
    int backing, fd;

    (void)state;
    for (size_t i = 0; i < ENGINES; i++) {
        fd = device(ODD, &backing);
        overfill(fd, backing, engines[i]);
        close(fd);
        close(backing);
    }
}

static void a_limit_that_ends_within_a_block(void **state)
{
    struct rlimit before, limit;
    int fd;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = ODD;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (size_t i = 0; i < ENGINES; i++) {
        fd = scratch_file();
        overfill(fd, fd, engines[i]);
        close(fd);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
}

/* Bytes that were given before the end; `cut` behind the first `before`. */
static size_t read_cut(enum xensave_engine engine, size_t before, size_t cut)
{
    struct xensave_io_options options = { .size = sizeof(
                                              struct xensave_io_options),
                                          .io = XENSAVE_IO_DIRECT,
                                          .engine = engine,
                                          .buffer_size = 65536,
                                          .buffers = 8 };
    uint8_t piece[512];
    size_t given;
    struct xensave_source *source;
    struct xensave_error error;
    int fd = scratch_file();

    assert_int_equal(pwrite(fd, data, ODD, 0), ODD);
    source = xensave_source_open_file(fd, &options, &error);
    if (!source) {
        close(fd);
        skip();
    }
    if (before)
        assert_int_equal(xensave_source_read(source, data, before), 0);
    assert_int_equal(ftruncate(fd, cut), 0);
    for (given = before; !xensave_source_read(source, piece, 512);
         given += 512)
        assert_memory_equal(piece, data, 512);
    assert_int_equal(error.errnum, ENODATA);
    xensave_source_free(source);
    close(fd);
    return given;
}

static void a_file_that_is_cut_while_it_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < ENGINES; i++) {
        assert_int_equal(read_cut(engines[i], 0, 3 * MIB + 512),
                         3 * MIB + 512);
        assert_int_equal(read_cut(engines[i], 0, 4096 * 5 + 1024),
                         4096 * 5 + 1024);
        assert_int_equal(read_cut(engines[i], 0, 2 * MIB), 2 * MIB);
        /* What has been read ahead may still come. */
        assert_true(read_cut(engines[i], MIB, 3 * MIB + 512) <= 3 * MIB + 512);
    }
}

/* ---- lost writes -------------------------------------------------------- */

/* A device of 16 MiB whose disk is full after 4. */
static int full_device(void)
{
    char name[] = "build/tests/full.XXXXXX";
    int backing, fd = -1;

    if (!mkdtemp(name))
        return -1;
    if (!unshare(CLONE_NEWNS) &&
        !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
        !mount("full", name, "tmpfs", 0, "size=4m")) {
        backing = open(name, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
        if (backing >= 0 && !ftruncate(backing, 16 * MIB))
            fd = loop_device(backing);
        if (backing >= 0)
            close(backing);
        umount2(name, MNT_DETACH);
    }
    rmdir(name);
    return fd;
}

/* The descriptor that was written to is the one that is synchronised. */
static void lost_writes_are_reported(void **state)
{
    static const enum xensave_io ways[] = { XENSAVE_IO_DIRECT,
                                            XENSAVE_IO_WINDOW,
                                            XENSAVE_IO_BUFFERED };
    struct xensave_error error;
    struct xensave_sink *sink;
    int fd, r;

    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct xensave_io_options options = {
            .size = sizeof(struct xensave_io_options), .io = ways[i]
        };

        fd = full_device();
        if (fd < 0)
            skip();
        sink = xensave_sink_open_file(fd, &options, &error);
        assert_non_null(sink);
        r = 0;
        for (int n = 0; n < 12 && !r; n++)
            r = xensave_sink_write(sink, data, MIB);
        r = r || xensave_sink_finish(sink) || xensave_fd_sync(fd);
        if (!r)
            fail_msg("--io=%s: 12 MiB on a disk of 4",
                     xensave_io_name(ways[i]));
        xensave_sink_free(sink);
        close(fd);
    }
}

/* ---- power cuts --------------------------------------------------------- */

/* What a reader of the disk says, or "" if it takes the save for whole. */
static const char *refusal(int backing)
{
    static struct xensave_error error;
    struct xensave_file savefile;

    if (!xensave_file_probe(backing, UINT64_MAX, &savefile, &error)) {
        savefile.is_device = true;
        xensave_file_check(backing, &savefile, &error);
    }
    return error.text;
}

/* All of a save and its commit, or half of its stream and nothing else. */
static int save(int fd, enum xensave_format format, unsigned seed, bool whole)
{
    struct xensave_encoder_options options = {
        .size = sizeof(struct xensave_encoder_options), .format = format
    };
    struct bytes head = synthetic_head(300);
    struct bytes v2 = synthetic_stream(PAGES_FULL, 8, 256, seed);
    struct xensave_error error;
    struct xensave_file savefile;
    struct xensave_encoder *encoder;
    struct xensave_sink *sink;
    int r = 0;

    assert_int_equal(pwrite(fd, head.data, head.length, 0), head.length);
    lseek(fd, head.length, SEEK_SET);
    sink = xensave_sink_open_file(fd, NULL, &error);
    assert_non_null(sink);
    encoder = xensave_encoder_new(sink, &options);
    assert_non_null(encoder);
    assert_int_equal(xensave_encoder_push(encoder, v2.data,
                                          whole ? v2.length : v2.length / 2),
                     0);
    if (whole)
        r = xensave_file_probe(fd, UINT64_MAX, &savefile, &error) ||
            xensave_file_commit(fd, &savefile, xensave_sink_offset(sink),
                                &error);
    xensave_encoder_free(encoder);
    xensave_sink_free(sink);
    free(head.data);
    free(v2.data);
    return r;
}

/* The power goes while a second save is written over a whole one. */
static const char *cut(enum xensave_format format, int fd, int backing)
{
    uint8_t before[4096], after[4096];

    assert_int_equal(save(fd, XENSAVE_FORMAT_V3, 1, true), 0);
    assert_string_equal(refusal(backing), "");
    assert_int_equal(pread(backing, before, 4096, 2 * MIB), 4096);
    assert_int_equal(save(fd, format, 2, false), 0);
    /* Pages of the second are on the disk. */
    assert_int_equal(pread(backing, after, 4096, 2 * MIB), 4096);
    assert_memory_not_equal(before, after, 4096);
    return refusal(backing);
}

static void an_earlier_mark_goes_first(void **state)
{
    int backing, fd = device(32 * MIB, &backing);

    (void)state;
    assert_non_null(
        strstr(cut(XENSAVE_FORMAT_V3, fd, backing), "is not complete"));
    assert_non_null(strstr(cut(XENSAVE_FORMAT_COMPAT, fd, backing),
                           "never written to its end"));
    assert_non_null(strstr(cut(XENSAVE_FORMAT_V2, fd, backing),
                           "never written to its end"));
    close(fd);
    close(backing);
}

static int no_page(struct core_memory *memory, struct core_batch *batch,
                   struct xensave_error *error)
{
    (void)memory;
    (void)batch;
    strcpy(error->text, "no page");
    return -1;
}

/* A core that is written over a save. */
static void a_core_unmarks_too(void **state)
{
    struct core_memory memory = { .next = no_page };
    struct core_options options = { .format = CORE_XEN };
    struct core_domain domain = { .nr_pages = 1 };
    int backing, fd = device(32 * MIB, &backing);
    struct core_result result;
    struct xensave_error error;
    struct xensave_sink *sink;

    (void)state;
    assert_int_equal(save(fd, XENSAVE_FORMAT_V3, 1, true), 0);
    lseek(fd, 0, SEEK_SET);
    sink = xensave_sink_open_file(fd, NULL, &error);
    assert_non_null(sink);
    assert_int_equal(core_write(sink, &domain, &memory, &options, &result,
                                &error),
                     -1);
    assert_string_equal(error.text, "no page");
    xensave_sink_free(sink);
    assert_string_not_equal(refusal(backing), "");
    close(fd);
    close(backing);
}

static void a_mark_is_taken_back_on_the_disk(void **state)
{
    int backing, fd = device(32 * MIB, &backing);

    (void)state;
    fsync_fails = true;
    assert_int_equal(save(fd, XENSAVE_FORMAT_V3, 1, true), 1);
    assert_false(fsync_fails);
    assert_non_null(strstr(refusal(backing), "is not complete"));
    close(fd);
    close(backing);
}

/* What used to spin shall fail. */
static int not_for_ever(void **state)
{
    (void)state;
    alarm(60);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup(name, not_for_ever)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_device_that_ends_within_a_block),
        TEST(a_limit_that_ends_within_a_block),
        TEST(a_file_that_is_cut_while_it_is_read),
        TEST(lost_writes_are_reported),
        TEST(an_earlier_mark_goes_first),
        TEST(a_core_unmarks_too),
        TEST(a_mark_is_taken_back_on_the_disk),
    };

    memset(data, 0x5a, sizeof(data));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
