/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Probe, refusal, commit and the 8-byte trap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "stream-v3/savefile/savefile.h"
#include "synthetic.h"

static const char tail[] = "eight and more bytes of tail";

/* A save file with a tail, as the toolstack leaves it before the commit. */
static int save(enum xensave_format format, unsigned config)
{
    struct xensave_encoder_options options = {
        .size = sizeof(struct xensave_encoder_options), .format = format
    };
    struct bytes head = synthetic_head(config);
    struct bytes v2 = synthetic_stream(PAGES_ALTERNATING, 3, 100, config);
    struct xensave_error error;
    struct xensave_encoder *encoder;
    struct xensave_sink *sink;
    int fd = scratch_file();

    assert_int_equal(write(fd, head.data, head.length - 24), head.length - 24);
    if (format == XENSAVE_FORMAT_COMPAT)
        assert_int_equal(xensave_file_align_head(fd, &options.head_padding,
                                                 &error),
                         0);
    assert_int_equal(write(fd, head.data + head.length - 24, 24), 24);
    sink = xensave_sink_open_file(fd, NULL, &error);
    assert_non_null(sink);
    encoder = xensave_encoder_new(sink, &options);
    if (!encoder)
        fail_msg("%s", error.text);
    assert_int_equal(xensave_encoder_push(encoder, v2.data, v2.length), 0);
    xensave_encoder_free(encoder);
    xensave_sink_free(sink);
    assert_int_equal(write(fd, tail, sizeof(tail)), sizeof(tail));
    free(head.data);
    free(v2.data);
    return fd;
}

static void commit(int fd)
{
    struct xensave_file savefile;
    struct xensave_error error;

    if (xensave_file_probe(fd, UINT64_MAX, &savefile, &error) ||
        xensave_file_commit(fd, &savefile, lseek(fd, 0, SEEK_CUR), &error))
        fail_msg("%s", error.text);
}

/* The text of the refusal, or "" if the file is taken. */
static const char *refusal(int fd)
{
    static struct xensave_error error;
    struct xensave_file savefile;

    if (!xensave_file_probe(fd, UINT64_MAX, &savefile, &error))
        xensave_file_check(fd, &savefile, &error);
    return error.text;
}

static void assert_refused(int fd, const char *why)
{
    if (!strstr(refusal(fd), why))
        fail_msg("expected \"%s\", got \"%s\"", why, refusal(fd));
}

static void probe_finds_every_format(void **state)
{
    struct xensave_file savefile;
    struct xensave_error error;
    int fd;

    (void)state;
    for (int format = XENSAVE_FORMAT_V2; format <= XENSAVE_FORMAT_V3; format++)
        for (unsigned config = 1000; config < 1008; config++) {
            fd = save(format, config);
            commit(fd);
            assert_int_equal(xensave_file_probe(fd, UINT64_MAX, &savefile,
                                                &error),
                             0);
            assert_int_equal(savefile.format, format);
            assert_true(savefile.xl_head);
            assert_int_equal(savefile.config_offset, 52);
            assert_int_equal(savefile.config_length, config - 1);
            assert_int_equal(savefile.guest_type, XENSAVE_V2_GUEST_HVM);
            assert_int_equal(savefile.xen_minor, 17);
            if (format == XENSAVE_FORMAT_COMPAT)
                assert_int_equal(savefile.stream_start % 8, 0);
            assert_int_equal(savefile.stream_start,
                             76 + config + savefile.head_padding);
            assert_string_equal(refusal(fd), "");
            close(fd);
        }
}

static void incomplete_is_refused(void **state)
{
    int fd = save(XENSAVE_FORMAT_V3, 500);

    (void)state;
    assert_refused(fd, "is not complete");
    commit(fd);
    assert_string_equal(refusal(fd), "");
    close(fd);
}

static void reserved_space_is_given_back(void **state)
{
    int fd = save(XENSAVE_FORMAT_V3, 500);
    off_t end = lseek(fd, 0, SEEK_CUR);
    struct stat facts;

    (void)state;
    assert_int_equal(ftruncate(fd, end + (5 << 20)), 0);
    commit(fd);
    fstat(fd, &facts);
    assert_int_equal(facts.st_size, end);
    close(fd);
}

static void every_byte_outside_the_stream_counts(void **state)
{
    int fd = save(XENSAVE_FORMAT_V3, 300);
    off_t end = lseek(fd, 0, SEEK_CUR);
    uint8_t byte, flipped;

    (void)state;
    commit(fd);
    for (off_t at = 0; at < end; at++) {
        /* Bytes of the stream behind its header are the decoder's. */
        if (at == 376 + 168)
            at = end - sizeof(tail);
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        flipped = byte ^ (1 << at % 8);
        assert_int_equal(pwrite(fd, &flipped, 1, at), 1);
        /* The domain header is covered by the stream's own checksum. */
        if (!refusal(fd)[0] && (at < 376 || at >= 376 + 40))
            fail_msg("byte %ld changed unnoticed", at);
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    assert_string_equal(refusal(fd), "");
    close(fd);
}

static void every_truncation_is_refused(void **state)
{
    int fd = save(XENSAVE_FORMAT_V3, 300);

    (void)state;
    commit(fd);
    for (off_t end = lseek(fd, 0, SEEK_END) - 1; end >= 0;
         end -= 1 + end % 37) {
        assert_int_equal(ftruncate(fd, end), 0);
        assert_true(refusal(fd)[0]);
    }
    close(fd);
}

static void foreign_features_are_named(void **state)
{
    int fd = save(XENSAVE_FORMAT_V3, 300);
    struct xensave_file savefile;
    struct xensave_error error;

    (void)state;
    commit(fd);
    assert_int_equal(xensave_file_probe(fd, UINT64_MAX, &savefile, &error), 0);
    savefile.header.state = XENSAVE_STATE_UNFINISHED;
    savefile.header.mandatory_features = 1ULL << 40;
    assert_int_equal(xensave_file_commit(fd, &savefile, lseek(fd, 0, SEEK_CUR),
                                         &error),
                     0);
    assert_refused(fd, "bit 40");
    savefile.header.mandatory_features = 0;
    savefile.header.min_reader_version = 4;
    assert_int_equal(xensave_file_commit(fd, &savefile, lseek(fd, 0, SEEK_CUR),
                                         &error),
                     0);
    assert_refused(fd, "needs a reader of version 4");
    close(fd);
}

/* Or the tail would begin before the header that the commit rewrites. */
static void impossible_lengths_are_not_committed(void **state)
{
    static const uint64_t lengths[] = {
        0, 1, 40, 168, 223, UINT64_MAX, UINT64_MAX - 500
    };
    int fd = save(XENSAVE_FORMAT_V3, 300);
    off_t end = lseek(fd, 0, SEEK_CUR);
    struct xensave_file savefile;
    struct xensave_error error;

    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        assert_int_equal(xensave_file_probe(fd, UINT64_MAX, &savefile, &error),
                         0);
        savefile.header.stream_length = lengths[i];
        assert_int_equal(xensave_file_commit(fd, &savefile, end, &error), -1);
        assert_int_equal(error.errnum, EINVAL);
    }
    commit(fd);
    assert_string_equal(refusal(fd), "");
    close(fd);
}

static void reading_back_leaves_the_page_cache_alone(void **state)
{
    const size_t length = 32 << 20;
    int fd = save(XENSAVE_FORMAT_V3, 300);
    void *bytes = calloc(1, length);

    (void)state;
    assert_int_equal(write(fd, bytes, length), length);
    free(bytes);
    commit(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    assert_int_equal(xensave_resident(fd, 0, length), 0);
    assert_string_equal(refusal(fd), "");
    /* The head, which the probe reads. */
    assert_true(xensave_resident(fd, 0, length) < 1 << 20);
    assert_string_equal(refusal(fd), "");
    close(fd);
}

/* A file that is no save file is refused without reading all of it. */
static void a_tail_has_a_limit(void **state)
{
    int fd = save(XENSAVE_FORMAT_V3, 300);
    off_t end = lseek(fd, 0, SEEK_CUR) + (1LL << 40);
    struct xensave_header_record header = {
        .record = { XENSAVE_RECORD_HEADER, sizeof(header.body) },
    };
    struct xensave_file savefile;
    struct xensave_error error;

    (void)state;
    commit(fd);
    assert_int_equal(xensave_file_probe(fd, UINT64_MAX, &savefile, &error), 0);
    header.body = savefile.header;
    header.body.file_length = end;
    xensave_header_seal(&header);
    assert_int_equal(ftruncate(fd, end), 0);
    assert_int_equal(pwrite(fd, &header, sizeof(header),
                            savefile.stream_start + 40),
                     sizeof(header));
    assert_refused(fd, "more than 1 GiB");
    savefile.header.state = XENSAVE_STATE_UNFINISHED;
    assert_int_equal(xensave_file_commit(fd, &savefile, end, &error), -1);
    assert_int_equal(error.errnum, EFBIG);
    close(fd);
}

/* What a later version wrote there is kept, and counts. */
static void commit_keeps_a_longer_header(void **state)
{
    struct xensave_header_record header, seen;
    int fd = save(XENSAVE_FORMAT_V3, 300);
    struct bytes file = slurp(fd);
    struct xensave_file savefile;
    struct xensave_error error;
    uint64_t at;
    size_t old;

    (void)state;
    assert_int_equal(xensave_file_probe(fd, UINT64_MAX, &savefile, &error), 0);
    at = savefile.stream_start + 40;
    memcpy(&header.record, file.data + at, sizeof(header.record));
    old = xensave_header_length(&header);
    memcpy(&header, file.data + at, old);
    memset(header.later, 0xa5, sizeof(header.later));
    header.record.length += 80;
    header.body.stream_length += 80;
    /* Its entries would point 80 bytes too low. */
    header.body.index_offset = 0;
    xensave_header_seal(&header);
    assert_int_equal(pwrite(fd, &header, old + 80, at), old + 80);
    assert_int_equal(pwrite(fd, file.data + at + old, file.length - at - old,
                            at + old + 80),
                     file.length - at - old);
    lseek(fd, file.length + 80, SEEK_SET);
    commit(fd);
    assert_string_equal(refusal(fd), "");
    assert_int_equal(pread(fd, &seen, old + 80, at), old + 80);
    assert_int_equal(seen.record.length, header.record.length);
    assert_int_equal(seen.body.state, XENSAVE_STATE_COMPLETE);
    assert_memory_equal(seen.later, header.later, 80);
    assert_int_equal(pwrite(fd, "", 1, at + old + 79), 1);
    assert_refused(fd, "does not match its checksum");
    close(fd);
    free(file.data);
}

static void compat_needs_a_head_of_xl(void **state)
{
    struct xensave_error error;
    int fd = scratch_file();
    uint32_t padding;

    (void)state;
    assert_int_equal(write(fd, "another toolstack", 17), 17);
    assert_int_equal(xensave_file_align_head(fd, &padding, &error), -1);
    assert_int_equal(error.errnum, EINVAL);
    lseek(fd, 16, SEEK_SET);
    assert_int_equal(xensave_file_align_head(fd, &padding, &error), 0);
    assert_int_equal(padding, 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_finds_every_format),
        cmocka_unit_test(incomplete_is_refused),
        cmocka_unit_test(reserved_space_is_given_back),
        cmocka_unit_test(every_byte_outside_the_stream_counts),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(foreign_features_are_named),
        cmocka_unit_test(impossible_lengths_are_not_committed),
        cmocka_unit_test(reading_back_leaves_the_page_cache_alone),
        cmocka_unit_test(a_tail_has_a_limit),
        cmocka_unit_test(commit_keeps_a_longer_header),
        cmocka_unit_test(compat_needs_a_head_of_xl),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
