/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Verifies a save file of xl: whole, and every checksum right.
 *
 *     cc verify.c $(pkg-config --cflags --libs xensave) -o verify
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <xensave.h>

#define BUFFER_SIZE (1U << 20)

/* Takes the v2 stream from the decoder, which checks what it hands out. */
static int decode(struct xensave_source *source, struct xensave_totals *totals)
{
    struct xensave_decoder *decoder = xensave_decoder_new(source);
    void *buffer = malloc(BUFFER_SIZE);
    ssize_t r = -1;

    if (decoder && buffer) {
        do {
            r = xensave_decoder_read_some(decoder, buffer, BUFFER_SIZE);
        } while (r > 0);
        xensave_decoder_totals(decoder, totals);
    }
    free(buffer);
    xensave_decoder_free(decoder);
    return r ? -1 : 0;
}

static int verify(int fd, struct xensave_error *error)
{
    struct xensave_io_options options = XENSAVE_IO_OPTIONS_INIT;
    struct xensave_totals totals = { 0 };
    struct xensave_source *source;
    struct xensave_file file;
    int r;

    /* UINT64_MAX: the stream is behind xl's own header. */
    if (xensave_file_probe(fd, UINT64_MAX, &file, error) ||
        xensave_file_check(fd, &file, error))
        return -1;
    if (lseek(fd, file.stream_start, SEEK_SET) < 0) {
        perror("lseek");
        return -1;
    }
    source = xensave_source_open_file(fd, &options, error);
    if (!source)
        return -1;
    r = decode(source, &totals);
    xensave_source_free(source);
    if (!r)
        printf("%s: %llu pages, %llu of them zero\n",
               xensave_format_name(file.format),
               (unsigned long long)(totals.pages_stored + totals.pages_zero),
               (unsigned long long)totals.pages_zero);
    return r;
}

int main(int argc, char **argv)
{
    struct xensave_error error = { 0 };
    int fd, r;

    if (argc != 2) {
        fprintf(stderr, "usage: %s FILE\n", argv[0]);
        return 2;
    }
    fd = open(argv[1], O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        perror(argv[1]);
        return 1;
    }
    r = verify(fd, &error);
    if (r && error.text[0])
        fprintf(stderr, "%s: %s\n", argv[1], error.text);
    close(fd);
    return r ? 1 : 0;
}
