/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages of save files, found and read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "synthetic.h"

#define BATCHES 5U
#define COUNT   200U
#define PFNS    (BATCHES * COUNT)

static int save_as(enum xensave_format format, enum xensave_codec codec,
                   struct bytes v2)
{
    struct xensave_encoder_options options = {
        .size = sizeof(struct xensave_encoder_options),
        .format = format,
        .compression = { .codec = codec, .all = true },
    };
    /* Only v3 bears a stream that starts anywhere. */
    struct bytes head = synthetic_head(format == XENSAVE_FORMAT_V3 ? 101
                                                                   : 100);
    struct xensave_error error;
    struct xensave_file savefile;
    struct xensave_encoder *encoder;
    struct xensave_sink *sink;
    int fd = scratch_file();

    assert_int_equal(write(fd, head.data, head.length), head.length);
    sink = xensave_sink_open_file(fd, NULL, &error);
    assert_non_null(sink);
    encoder = xensave_encoder_new(sink, &options);
    if (!encoder)
        fail_msg("%s", error.text);
    if (xensave_encoder_push(encoder, v2.data, v2.length))
        fail_msg("%s", error.text);
    xensave_encoder_free(encoder);
    xensave_sink_free(sink);
    assert_int_equal(xensave_file_probe(fd, UINT64_MAX, &savefile, &error), 0);
    assert_int_equal(xensave_file_commit(fd, &savefile, lseek(fd, 0, SEEK_CUR),
                                         &error),
                     0);
    free(head.data);
    return fd;
}

static int save(enum xensave_format format, struct bytes v2)
{
    return save_as(format, XENSAVE_CODEC_NONE, v2);
}

static struct xensave_index *try_open(int fd, struct xensave_error *error)
{
    struct xensave_file savefile;

    assert_int_equal(xensave_file_probe(fd, UINT64_MAX, &savefile, error), 0);
    return xensave_index_open(fd, &savefile, error);
}

static struct xensave_index *open_index(int fd, struct xensave_error *error)
{
    struct xensave_index *index = try_open(fd, error);

    if (!index)
        fail_msg("%s", error->text);
    return index;
}

/* What Xen would have in memory in the end. */
struct memory {
    uint8_t *page[PFNS];
};

static void play(struct bytes v2, struct memory *memory)
{
    size_t at = sizeof(struct xensave_v2_image_header) +
                sizeof(struct xensave_v2_domain_header);
    struct xensave_v2_record_header record;

    memset(memory, 0, sizeof(*memory));
    do {
        memcpy(&record, v2.data + at, sizeof(record));
        at += sizeof(record);
        if (record.type == XENSAVE_V2_RECORD_PAGE_DATA) {
            uint32_t count;
            uint8_t *pfns = v2.data + at + 8, *page;

            memcpy(&count, v2.data + at, 4);
            page = pfns + 8 * count;
            for (uint32_t i = 0; i < count; i++) {
                uint64_t pfn;

                memcpy(&pfn, pfns + 8 * i, 8);
                if (pfn >> XENSAVE_V2_PFN_TYPE_SHIFT >=
                    XENSAVE_V2_PFN_TYPE_BROKEN)
                    continue;
                memory->page[pfn & XENSAVE_V2_PFN_MASK] = page;
                page += XENSAVE_V2_PAGE_SIZE;
            }
        }
        at += (record.length + 7) & ~7U;
    } while (record.type != XENSAVE_V2_RECORD_END);
}

static void compare(struct xensave_index *index,
                    const struct xensave_error *error,
                    const struct memory *memory)
{
    static struct xensave_index_page pages[PFNS + 8];
    static const uint8_t zeros[XENSAVE_V2_PAGE_SIZE];
    uint8_t contents[XENSAVE_V2_PAGE_SIZE];
    uint64_t next;

    if (xensave_index_map(index, 0, PFNS + 8, pages))
        fail_msg("%s", error->text);
    for (unsigned i = 0; i < PFNS + 8; i++) {
        const uint8_t *page = i < PFNS ? memory->page[i] : NULL;
        struct xensave_index_page one;

        assert_int_equal(xensave_index_map(index, i, 1, &one), 0);
        assert_memory_equal(&one, &pages[i], sizeof(one));
        assert_int_equal(xensave_index_next(index, i, &next), 0);
        if (!page) {
            assert_int_equal(pages[i].kind, XENSAVE_PAGE_ABSENT);
            assert_true(next > i);
            continue;
        }
        assert_int_equal(next, i);
        if (xensave_index_read(index, &pages[i], contents))
            fail_msg("pfn %u: %s", i, error->text);
        assert_memory_equal(contents, page, XENSAVE_V2_PAGE_SIZE);
        if (pages[i].kind == XENSAVE_PAGE_ZERO)
            assert_memory_equal(page, zeros, XENSAVE_V2_PAGE_SIZE);
    }
    assert_int_equal(xensave_index_next(index, PFNS, &next), 0);
    assert_true(next == UINT64_MAX);
}

/*
 * The stream of a domain that ran: its last batches are of pfns that it has
 * had already, in another order.
 */
static struct bytes live_stream(void)
{
    struct bytes first = synthetic_stream(PAGES_ALTERNATING, BATCHES - 1,
                                          COUNT, 5);
    struct bytes again = synthetic_stream(PAGES_MIXED_TYPES, 2, COUNT, 77);
    /* Behind the headers and the two records without pages. */
    size_t begin = 40 + 8 + 176 + 8, end = 8 + 8 + 8064, length;
    struct bytes both;

    length = again.length - begin - end;
    both.length = first.length + length;
    both.data = malloc(both.length);
    assert_non_null(both.data);
    memcpy(both.data, first.data, first.length - end);
    memcpy(both.data + first.length - end, again.data + begin, length);
    memcpy(both.data + first.length - end + length,
           first.data + first.length - end, end);
    free(first.data);
    free(again.data);
    return both;
}

static void test_every_format(void **state)
{
    static const struct {
        enum xensave_format format;
        enum xensave_codec codec;
    } formats[] = {
        { XENSAVE_FORMAT_V2, XENSAVE_CODEC_NONE },
        { XENSAVE_FORMAT_COMPAT, XENSAVE_CODEC_NONE },
        { XENSAVE_FORMAT_V3, XENSAVE_CODEC_NONE },
        { XENSAVE_FORMAT_V3, XENSAVE_CODEC_LZ4 },
        { XENSAVE_FORMAT_V3, XENSAVE_CODEC_ZSTD },
    };
    static const enum synthetic_pages kinds[] = {
        PAGES_FULL,        PAGES_ZERO, PAGES_ALTERNATING,
        PAGES_MIXED_TYPES, PAGES_TEXT,
    };
    (void)state;

    for (size_t k = 0; k <= sizeof(kinds) / sizeof(kinds[0]); k++) {
        bool live = k == sizeof(kinds) / sizeof(kinds[0]);
        struct bytes v2 = live ? live_stream()
                               : synthetic_stream(kinds[k], BATCHES, COUNT, 3);
        struct memory memory;

        play(v2, &memory);
        for (size_t f = 0; f < sizeof(formats) / sizeof(formats[0]); f++) {
            int fd = save_as(formats[f].format, formats[f].codec, v2);
            struct xensave_error error;
            struct xensave_index *index = open_index(fd, &error);

            compare(index, &error, &memory);
            xensave_index_free(index);
            close(fd);
        }
        free(v2.data);
    }
}

/* The walk finds what the index says. */
static void test_without_index(void **state)
{
    struct bytes v2 = live_stream();
    struct xensave_file savefile;
    struct xensave_index *index;
    struct xensave_error error;
    struct memory memory;
    int fd = save(XENSAVE_FORMAT_V3, v2);
    (void)state;

    play(v2, &memory);
    assert_int_equal(xensave_file_probe(fd, UINT64_MAX, &savefile, &error), 0);
    savefile.header.index_offset = 0;
    index = xensave_index_open(fd, &savefile, &error);
    assert_non_null(index);
    compare(index, &error, &memory);
    xensave_index_free(index);
    close(fd);
    free(v2.data);
}

/* Compressed pages have no place of their own in the file. */
static void test_compressed(void **state)
{
    struct bytes v2 = synthetic_stream(PAGES_TEXT, BATCHES, COUNT, 3);
    int fd = save_as(XENSAVE_FORMAT_V3, XENSAVE_CODEC_ZSTD, v2);
    struct xensave_index_page pages[PFNS];
    struct xensave_file savefile;
    struct xensave_error error;
    struct memory memory;
    unsigned stored = 0;
    (void)state;

    play(v2, &memory);
    assert_int_equal(xensave_file_probe(fd, UINT64_MAX, &savefile, &error), 0);
    assert_int_equal(savefile.header.mandatory_features,
                     XENSAVE_MANDATORY_ZSTD);
    for (int walked = 0; walked < 2; walked++) {
        struct xensave_index *index = xensave_index_open(fd, &savefile,
                                                         &error);

        assert_non_null(index);
        compare(index, &error, &memory);
        assert_int_equal(xensave_index_map(index, 0, PFNS, pages), 0);
        for (unsigned i = 0; i < PFNS; i++) {
            if (pages[i].kind == XENSAVE_PAGE_STORED) {
                assert_true(pages[i].offset == UINT64_MAX);
                stored++;
            }
        }
        xensave_index_free(index);
        savefile.header.index_offset = 0;
    }
    assert_int_equal(stored, 2 * PFNS / 2);
    close(fd);
    free(v2.data);
}

static void flip(int fd, uint64_t offset)
{
    uint8_t byte;

    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
}

static void test_damage(void **state)
{
    struct bytes v2 = synthetic_stream(PAGES_FULL, BATCHES, COUNT, 3);
    int fd = save(XENSAVE_FORMAT_V3, v2);
    uint8_t contents[XENSAVE_V2_PAGE_SIZE];
    struct xensave_file savefile;
    struct xensave_index_page page;
    struct xensave_index *index;
    struct xensave_error error;
    uint64_t at;
    (void)state;

    index = open_index(fd, &error);
    assert_int_equal(xensave_index_map(index, COUNT + 3, 1, &page), 0);
    xensave_index_free(index);

    /* Another page of the same frame. */
    flip(fd, page.offset - 2 * XENSAVE_V2_PAGE_SIZE + 17);
    index = open_index(fd, &error);
    assert_int_equal(xensave_index_read(index, &page, contents), -1);
    assert_non_null(strstr(error.text, "checksum"));
    /* What has failed stays failed. */
    assert_int_equal(xensave_index_map(index, 0, 1, &page), -1);
    xensave_index_free(index);

    /* A pfn. */
    flip(fd, page.offset - 2 * XENSAVE_V2_PAGE_SIZE + 17);
    index = open_index(fd, &error);
    assert_int_equal(xensave_index_map(index, 2 * COUNT, 1, &page), 0);
    assert_int_equal(xensave_index_read(index, &page, contents), 0);
    xensave_index_free(index);
    assert_int_equal(xensave_file_probe(fd, UINT64_MAX, &savefile, &error), 0);
    at = savefile.stream_start + savefile.header.index_offset;

    for (unsigned i = 0; i < 8 + 16 + 64 * BATCHES; i++) {
        flip(fd, at + i);
        index = try_open(fd, &error);
        if (index)
            fail_msg("byte %u of the index", i);
        assert_int_not_equal(error.errnum, 0);
        flip(fd, at + i);
    }
    index = open_index(fd, &error);
    xensave_index_free(index);
    close(fd);
    free(v2.data);
}

/* Files that end early, and heads that are not as the index says. */
static void test_truncation(void **state)
{
    struct bytes v2 = synthetic_stream(PAGES_MIXED_TYPES, 2, 20, 3);
    int fd = save(XENSAVE_FORMAT_V2, v2);
    off_t length = lseek(fd, 0, SEEK_END);
    struct xensave_error error;
    (void)state;

    for (off_t cut = length - 9; cut > 900; cut -= 997) {
        struct xensave_index *index;

        assert_int_equal(ftruncate(fd, cut), 0);
        index = try_open(fd, &error);
        if (index)
            fail_msg("cut at %ld", (long)cut);
        assert_non_null(strstr(error.text, "not whole"));
    }
    close(fd);
    free(v2.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_format),
        cmocka_unit_test(test_without_index),
        cmocka_unit_test(test_compressed),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_truncation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
