/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every format through every manner of I/O: what is decoded is what was
 * encoded, pages lie where they should, and the file offset is left right.
 */
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

#define IO_SIZE .size = sizeof(struct xensave_io_options)

struct setting {
    enum xensave_format format;
    struct xensave_io_options write, read;
    unsigned start;
    enum synthetic_pages pages;
    unsigned batches, count;
    struct xensave_compression compression;
};

static void encode(int fd, const struct setting *setting,
                   const struct bytes *v2)
{
    struct xensave_encoder_options options = {
        .size = sizeof(struct xensave_encoder_options),
        .format = setting->format,
        .compression = setting->compression,
    };
    struct xensave_error error;
    struct xensave_encoder *encoder;
    struct xensave_sink *sink;
    size_t part;

    assert_int_equal(lseek(fd, setting->start, SEEK_SET), setting->start);
    sink = xensave_sink_open_file(fd, &setting->write, &error);
    assert_non_null(sink);
    encoder = xensave_encoder_new(sink, &options);
    assert_non_null(encoder);
    for (size_t at = 0; at < v2->length; at += part) {
        part = 1 + rand() % (rand() % 3 ? 9000 : 5000000);
        part = part < v2->length - at ? part : v2->length - at;
        if (xensave_encoder_push(encoder, v2->data + at, part))
            fail_msg("%s", error.text);
    }
    assert_true(xensave_encoder_ended(encoder));
    assert_int_equal(lseek(fd, 0, SEEK_CUR), xensave_sink_offset(sink));
    xensave_encoder_free(encoder);
    xensave_sink_free(sink);
}

static void decode(int fd, const struct setting *setting,
                   const struct bytes *v2)
{
    struct xensave_error error;
    struct xensave_decoder *decoder;
    struct xensave_source *source;
    uint8_t *out = malloc(v2->length + 1);
    off_t end = lseek(fd, 0, SEEK_CUR);
    size_t part;

    lseek(fd, setting->start, SEEK_SET);
    source = xensave_source_open_file(fd, &setting->read, &error);
    if (!source)
        fail_msg("%s", error.text);
    decoder = xensave_decoder_new(source);
    assert_non_null(decoder);
    for (size_t at = 0; at < v2->length; at += part) {
        part = 1 + rand() % (rand() % 3 ? 9000 : 5000000);
        part = part < v2->length - at ? part : v2->length - at;
        if (xensave_decoder_read(decoder, out + at, part))
            fail_msg("%s", error.text);
    }
    assert_true(xensave_decoder_ended(decoder));
    assert_int_equal(xensave_decoder_read_some(decoder, out, 1), 0);
    assert_int_equal(xensave_decoder_format(decoder), setting->format);
    assert_memory_equal(out, v2->data, v2->length);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), end);
    xensave_decoder_free(decoder);
    xensave_source_free(source);
    free(out);
}

/* The decoder refuses UNFINISHED; the commit is another test's business. */
static void pretend_complete(int fd, const struct setting *setting)
{
    struct xensave_file savefile;
    struct xensave_error error;
    off_t end = lseek(fd, 0, SEEK_CUR);
    struct bytes head;

    if (setting->format != XENSAVE_FORMAT_V3)
        return;
    head = synthetic_head(setting->start - 76);
    assert_int_equal(pwrite(fd, head.data, head.length, 0), head.length);
    assert_int_equal(head.length, setting->start);
    if (xensave_file_probe(fd, UINT64_MAX, &savefile, &error) ||
        xensave_file_commit(fd, &savefile, end, &error))
        fail_msg("%s", error.text);
    free(head.data);
}

static void check_alignment(int fd, const struct setting *setting)
{
    struct bytes file;
    uint32_t type, length, pages, head[4];
    size_t at = setting->start + 40;

    if (setting->format != XENSAVE_FORMAT_V3)
        return;
    file = slurp(fd);
    do {
        memcpy(&type, file.data + at, 4);
        memcpy(&length, file.data + at + 4, 4);
        pages = 0;
        if (type == XENSAVE_RECORD_PAGE_DATA) {
            memcpy(head, file.data + at + 8, sizeof(head));
            pages = head[1];
        }
        if (pages)
            assert_int_equal((at + 8 + 40 + 8 * head[0] +
                              12 * ((pages + (1U << (head[3] >> 4)) - 1) >>
                                    (head[3] >> 4)) +
                              head[2]) %
                                 4096,
                             0);
        at += 8 + length + (-length & 7);
    } while (type);
    free(file.data);
}

static void roundtrip(const struct setting *setting)
{
    struct bytes v2 = synthetic_stream(setting->pages, setting->batches,
                                       setting->count, 7);
    int fd = scratch_file();

    encode(fd, setting, &v2);
    check_alignment(fd, setting);
    pretend_complete(fd, setting);
    decode(fd, setting, &v2);
    close(fd);
    free(v2.data);
}

static void every_format_and_pages(void **state)
{
    struct setting setting = {
        .write = { IO_SIZE }, .read = { IO_SIZE }, .batches = 9, .count = 1024
    };

    (void)state;
    for (setting.format = 0; setting.format <= XENSAVE_FORMAT_V3;
         setting.format++)
        for (setting.pages = 0; setting.pages <= PAGES_MIXED_TYPES;
             setting.pages++)
            for (setting.start = 1000; setting.start <= 5096;
                 setting.start += 4096)
                roundtrip(&setting);
}

static void every_compression(void **state)
{
    struct setting setting = {
        .write = { IO_SIZE },
        .read = { IO_SIZE },
        .format = XENSAVE_FORMAT_V3,
        .batches = 9,
        .count = 1024,
        .start = 1003,
    };
    struct xensave_compression *compression = &setting.compression;

    (void)state;
    for (setting.pages = 0; setting.pages <= PAGES_TEXT; setting.pages++)
        for (compression->codec = XENSAVE_CODEC_LZ4;
             compression->codec <= XENSAVE_CODEC_ZSTD; compression->codec++)
            for (compression->level = 0; compression->level <= 3;
                 compression->level += 3)
                roundtrip(&setting);
}

static void every_manner_of_io(void **state)
{
    struct setting setting = {
        .write = { IO_SIZE },
        .read = { IO_SIZE },
        .format = XENSAVE_FORMAT_V3,
        .pages = PAGES_MIXED_TYPES,
        .start = 1237,
        .batches = 11,
        .count = 1000,
    };

    (void)state;
    for (int io = XENSAVE_IO_AUTO; io <= XENSAVE_IO_BUFFERED; io++)
        for (int engine = XENSAVE_ENGINE_URING;
             engine <= XENSAVE_ENGINE_THREAD; engine++) {
            setting.write.io = setting.read.io = io;
            setting.write.engine = setting.read.engine = engine;
            setting.compression.codec = XENSAVE_CODEC_NONE;
            roundtrip(&setting);
            setting.compression.codec = XENSAVE_CODEC_ZSTD;
            roundtrip(&setting);
        }
}

static void every_start_modulo_8(void **state)
{
    struct setting setting = {
        .write = { IO_SIZE },
        .read = { IO_SIZE },
        .format = XENSAVE_FORMAT_V3,
        .pages = PAGES_ALTERNATING,
        .batches = 40,
        .count = 5,
    };

    (void)state;
    for (setting.start = 8 * 511; setting.start < 8 * 513; setting.start++)
        roundtrip(&setting);
}

static void smallest_buffers(void **state)
{
    struct setting setting = {
        .format = XENSAVE_FORMAT_V3,
        .pages = PAGES_FULL,
        .start = 77,
        .batches = 12,
        .count = 1024,
        .write = { IO_SIZE, .buffer_size = 65536, .buffers = 8 },
        .read = { IO_SIZE, .buffer_size = 65536, .buffers = 2 },
    };

    (void)state;
    roundtrip(&setting);
}

static void skipping_reads_what_is_there(void **state)
{
    struct xensave_error error;
    struct xensave_source *source;
    int fd = scratch_file();
    uint64_t at = 0, value;

    (void)state;
    for (uint64_t i = 0; i < 6 << 20; i += 8)
        if (pwrite(fd, &i, 8, i) != 8)
            fail();
    fsync(fd);
    lseek(fd, 0, SEEK_SET);
    source = xensave_source_open_file(fd,
                                      &(struct xensave_io_options){
                                          .size = sizeof(
                                              struct xensave_io_options),
                                          .io = XENSAVE_IO_DIRECT,
                                          .buffer_size = 65536,
                                          .buffers = 4 },
                                      &error);
    assert_non_null(source);
    for (int i = 0; at < 5 << 20; i++) {
        assert_int_equal(xensave_source_read(source, &value, 8), 0);
        assert_int_equal(value, at);
        at += 8;
        value = i % 7 == 3 ? 400000 : i % 5 * 20000;
        assert_int_equal(xensave_source_skip(source, value), 0);
        at += value;
    }
    assert_int_equal(xensave_source_offset(source), at);
    assert_int_equal(xensave_source_skip(source, 3 << 20), -1);
    assert_int_equal(error.errnum, ENODATA);
    xensave_source_free(source);
    close(fd);
}

/* All of a stream in memory that the decoder gives before it refuses it. */
static size_t decode_until_refused(void *data, size_t length, uint8_t *out,
                                   size_t room, struct xensave_error *error)
{
    struct xensave_source *source = xensave_source_open_memory(data, length, 0,
                                                               error);
    struct xensave_decoder *decoder = xensave_decoder_new(source);
    size_t at = 0;
    ssize_t got;

    assert_non_null(decoder);
    while ((got = xensave_decoder_read_some(decoder, out + at, room - at)) > 0)
        at += got;
    assert_int_equal(got, -1);
    xensave_decoder_free(decoder);
    xensave_source_free(source);
    return at;
}

/* What is read ahead is refused where it stands, behind what is good. */
static void damage_ahead_is_refused_in_its_place(void **state)
{
    struct bytes v2 = synthetic_stream(PAGES_TEXT, 6, 200, 3);
    struct xensave_encoder_options options = {
        .size = sizeof(options),
        .format = XENSAVE_FORMAT_V3,
        .compression = { .codec = XENSAVE_CODEC_ZSTD, .all = true },
    };
    struct xensave_v2_record_header record;
    uint8_t *out = malloc(v2.length + 1), *bytes;
    size_t length, at = 40, given, before = 0, number = 0;
    struct xensave_error error;
    struct xensave_sink *sink;
    struct xensave_encoder *encoder;
    int pipe_fds[2];
    (void)state;

    /* A stream that is not rewritten needs no commit. */
    assert_int_equal(pipe(pipe_fds), 0);
    sink = xensave_sink_open_stream(pipe_fds[1], &error);
    encoder = xensave_encoder_new(sink, &options);
    bytes = malloc(v2.length);
    assert_non_null(encoder);
    assert_true(fcntl(pipe_fds[1], F_SETPIPE_SZ, 1 << 20) > 0);
    if (xensave_encoder_push(encoder, v2.data, v2.length))
        fail_msg("%s", error.text);
    xensave_encoder_free(encoder);
    xensave_sink_free(sink);
    length = read(pipe_fds[0], bytes, v2.length);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    do {
        memcpy(&record, bytes + at, sizeof(record));
        if (record.type == XENSAVE_RECORD_PAGE_DATA) {
            bytes[at + 8 + record.length - 3] ^= 1;
            given = decode_until_refused(bytes, length, out, v2.length,
                                         &error);
            assert_true(error.has_offset);
            assert_int_equal(error.offset, at);
            assert_int_equal(error.record, number);
            assert_true(given > before);
            assert_memory_equal(out, v2.data, given);
            before = given;
            bytes[at + 8 + record.length - 3] ^= 1;
        }
        at += 8 + ((record.length + 7) & ~7U);
        number++;
    } while (record.type != XENSAVE_V2_RECORD_END);
    assert_true(before > v2.length / 2);
    free(bytes);
    free(out);
    free(v2.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_and_pages),
        cmocka_unit_test(every_compression),
        cmocka_unit_test(every_manner_of_io),
        cmocka_unit_test(every_start_modulo_8),
        cmocka_unit_test(smallest_buffers),
        cmocka_unit_test(skipping_reads_what_is_there),
        cmocka_unit_test(damage_ahead_is_refused_in_its_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
