/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Headers of a save file: where they are read from, and what they say. */
#ifndef XENSAVE_SAVEFILE_H
#define XENSAVE_SAVEFILE_H

#include "stream-v3/codec/checksum.h"
#include "stream-v3/codec/record.h"
#include "stream-v3/io/io.h"

/* What a parser of headers reads from. */
struct xensave_bytes {
    /*
     * `length` bytes at `offset`, valid until the next call.  NULL with
     * errno: ENODATA at the end.
     */
    const void *(*look)(struct xensave_bytes *bytes, uint64_t offset,
                        size_t length);
    uint64_t size; /* UINT64_MAX: not known */
};

/* Holds the head of a full batch. */
#define XENSAVE_WINDOW 24576U

/* A file.  What the window has left behind leaves the page cache. */
struct xensave_window {
    struct xensave_bytes bytes;
    int fd;
    uint64_t offset; /* in the file, of what it holds */
    size_t length;
    uint8_t data[XENSAVE_WINDOW];
};

void xensave_window_init(struct xensave_window *window, int fd, uint64_t size);
void xensave_window_close(struct xensave_window *window);

/* Single reads that leave nothing in the page cache, direct where it goes. */
struct xensave_reader {
    int fd;     /* the caller's */
    int direct; /* -1: there is no direct I/O */
    bool tidy;  /* some filesystems take O_DIRECT and fill it all the same */
    uint32_t alignment;
    uint8_t *bytes;
    size_t size;
};

void xensave_reader_init(struct xensave_reader *reader, int fd, bool tidy);
/* Valid until the next call; NULL with errno (ENODATA: the file ends). */
const uint8_t *xensave_reader_look(struct xensave_reader *reader,
                                   uint64_t offset, size_t length);
/* Adds the bytes from `*at` to `end`.  -1 as above, and `*at` says where. */
int xensave_reader_checksum(struct xensave_reader *reader,
                            struct xensave_checksum *checksum, uint64_t *at,
                            uint64_t end);
void xensave_reader_close(struct xensave_reader *reader);

/* content.c: all that is not page data is as it was saved: spec 6. */
int xensave_content_check(int fd, const struct xensave_file *savefile,
                          struct xensave_error *error);

/*
 * Everything before the image header: xl's header with its configuration, or
 * another toolstack's, and libxl's header.  `libxl_offset` as in
 * xensave_file_probe, `name` for errors.  Looks at nothing behind it.
 */
int xensave_head_parse(struct xensave_bytes *bytes, const char *name,
                       uint64_t libxl_offset, struct xensave_file *savefile,
                       struct xensave_error *error);

#endif /* XENSAVE_SAVEFILE_H */
