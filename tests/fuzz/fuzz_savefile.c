/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as a save file: probe, check, decoding from a descriptor,
 * commit, and the padding of the head.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "stream-v3/savefile/savefile.h"

#define FLAG_OFFSET 1U /* of the libxl header is given */
#define FLAG_COMMIT 2U
#define FLAG_ALIGN  4U
#define FLAG_DECODE 8U
#define FLAG_DROP   16U /* read in the manner that drops the cache */

static size_t file_size(int fd)
{
    struct stat facts;

    FUZZ_ASSERT(!fstat(fd, &facts), NULL);
    return facts.st_size;
}

static void assert_probed(const struct xensave_file *savefile, size_t size)
{
    FUZZ_ASSERT(savefile->file_size == size, NULL);
    FUZZ_ASSERT(savefile->stream_start <= size, NULL);
    FUZZ_ASSERT(savefile->libxl_offset + 24 == savefile->stream_start, NULL);
    if (savefile->config_length)
        FUZZ_ASSERT(savefile->config_offset + savefile->config_length < size,
                    NULL);
}

static void decode(int fd, const struct xensave_file *savefile, size_t size,
                   uint8_t flags)
{
    const struct xensave_io_options options = {
        .size = sizeof(struct xensave_io_options),
        .io = flags & FLAG_DROP ? XENSAVE_IO_WINDOW : XENSAVE_IO_BUFFERED,
    };
    static uint8_t bytes[1 << 16];
    struct xensave_error error;
    struct xensave_decoder *decoder;
    struct xensave_source *source;
    size_t total = 0;
    ssize_t r;

    lseek(fd, savefile->stream_start, SEEK_SET);
    source = xensave_source_open_file(fd, &options, &error);
    FUZZ_ASSERT(source, &error);
    decoder = xensave_decoder_new(source);
    FUZZ_ASSERT(decoder, &error);
    do {
        r = xensave_decoder_read_some(decoder, bytes, sizeof(bytes));
        total += r > 0 ? r : 0;
    } while (r > 0 && total < 4 * sizeof(bytes));
    if (r < 0) {
        fuzz_assert_error(&error);
    } else if (!r) {
        FUZZ_ASSERT(xensave_decoder_ended(decoder), &error);
        FUZZ_ASSERT(xensave_decoder_format(decoder) == savefile->format,
                    &error);
        FUZZ_ASSERT(lseek(fd, 0, SEEK_CUR) ==
                        (off_t)xensave_source_offset(source),
                    &error);
        FUZZ_ASSERT(xensave_source_offset(source) <= size, &error);
    }
    xensave_decoder_free(decoder);
    xensave_source_free(source);
}

/* Committed means that it is taken from now on, and was not before. */
static void commit(int fd, const struct xensave_file *savefile, size_t length)
{
    struct xensave_file after;
    struct xensave_error error;

    if (xensave_file_commit(fd, savefile, length, &error)) {
        fuzz_assert_error(&error);
        return;
    }
    FUZZ_ASSERT(file_size(fd) == length, &error);
    if (savefile->format != XENSAVE_FORMAT_V3)
        return;
    FUZZ_ASSERT(savefile->header.state == XENSAVE_STATE_UNFINISHED, &error);
    /* The length of the stream is not looked into here. */
    if (xensave_file_probe(fd, savefile->libxl_offset, &after, &error)) {
        FUZZ_ASSERT(strstr(error.text, "contradict"), &error);
        return;
    }
    FUZZ_ASSERT(after.header.state == XENSAVE_STATE_COMPLETE, &error);
    FUZZ_ASSERT(after.header.file_length == length, &error);
    /* Nor are the records. */
    if (after.header.stream_start == after.stream_start &&
        xensave_file_check(fd, &after, &error))
        FUZZ_ASSERT(xensave_content_check(fd, &after, &error), &error);
}

static void align(int fd, size_t size, uint16_t number)
{
    uint64_t at = number % (size + 1);
    struct xensave_file savefile;
    struct xensave_error error;
    uint32_t padding;

    lseek(fd, at, SEEK_SET);
    if (xensave_file_align_head(fd, &padding, &error)) {
        fuzz_assert_error(&error);
        FUZZ_ASSERT(file_size(fd) == size, &error);
        return;
    }
    FUZZ_ASSERT(padding < 8, &error);
    FUZZ_ASSERT((at + padding + 24) % 8 == 0, &error);
    FUZZ_ASSERT(lseek(fd, 0, SEEK_CUR) == (off_t)(at + padding), &error);
    xensave_file_probe(fd, UINT64_MAX, &savefile, &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_control control;
    struct xensave_file savefile;
    struct xensave_error error;
    uint64_t libxl_offset = UINT64_MAX;
    int fd;

    if (!fuzz_control(&control, &data, &size))
        return 0;
    fd = fuzz_file(data, size);
    if (control.flags & FLAG_OFFSET)
        libxl_offset = control.number;
    if (xensave_file_probe(fd, libxl_offset, &savefile, &error)) {
        fuzz_assert_error(&error);
    } else {
        assert_probed(&savefile, size);
        if (xensave_file_check(fd, &savefile, &error))
            fuzz_assert_error(&error);
        FUZZ_ASSERT(lseek(fd, 0, SEEK_CUR) == 0, &error);
        if (control.flags & FLAG_DECODE)
            decode(fd, &savefile, size, control.flags);
        if (control.flags & FLAG_COMMIT)
            commit(fd, &savefile,
                   control.start & 1 ? size : control.chunks % (size + 100));
    }
    if (control.flags & FLAG_ALIGN)
        align(fd, file_size(fd), control.number);
    return 0;
}
