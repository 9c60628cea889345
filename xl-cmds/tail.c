/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "tail.h"

/* Follows the records in bytes that come in pieces of any size. */
struct scan {
    unsigned char header[sizeof(struct xensave_v2_record_header)];
    size_t filled;
    uint64_t skip; /* of the body and its padding */
    bool ended;
};

/* How many of the bytes lie before the end of END. */
static size_t scan_bytes(struct scan *scan, const unsigned char *data,
                         size_t length)
{
    struct xensave_v2_record_header header;
    size_t at = 0;

    while (at < length && !scan->ended) {
        if (scan->skip) {
            uint64_t left = length - at;
            uint64_t n = scan->skip < left ? scan->skip : left;

            scan->skip -= n;
            at += n;
            continue;
        }
        scan->header[scan->filled++] = data[at++];
        if (scan->filled < sizeof(header))
            continue;
        memcpy(&header, scan->header, sizeof(header));
        scan->filled = 0;
        scan->skip = ((uint64_t)header.length + 7) & ~7ULL;
        scan->ended = header.type == XENSAVE_V2_RECORD_END;
    }
    return at;
}

static int fail(struct xensave_error *error, const char *doing)
{
    error->errnum = errno;
    snprintf(error->text, sizeof(error->text), "%s behind the stream: %s",
             doing, strerror(errno));
    return -1;
}

/* Directly, as the stream was read; NULL: it can only be read on. */
static struct xensave_source *open_source(struct tail *tail, uint64_t *left,
                                          struct xensave_error *error)
{
    static const struct xensave_io_options options = XENSAVE_IO_OPTIONS_INIT;
    off_t at = lseek(tail->in, 0, SEEK_CUR), end;

    if (at < 0)
        return NULL;
    end = lseek(tail->in, 0, SEEK_END);
    if (end < 0 || lseek(tail->in, at, SEEK_SET) < 0)
        return NULL;
    if (end < at)
        end = at;
    if ((uint64_t)(end - at) < *left)
        *left = end - at;
    return xensave_source_open_file(tail->in, &options, error);
}

/* How many bytes came; -1 with the error. */
static ssize_t take(struct tail *tail, struct xensave_source *source,
                    void *buffer, size_t length, struct xensave_error *error)
{
    ssize_t r;

    if (source)
        return xensave_source_read(source, buffer, length) ? -1
                                                           : (ssize_t)length;
    do
        r = read(tail->in, buffer, length);
    while (r < 0 && errno == EINTR);
    return r < 0 ? fail(error, "reading") : r;
}

static int copy(struct tail *tail, struct xensave_source *source,
                uint64_t left, struct xensave_error *error)
{
    unsigned char buffer[65536];
    struct scan scan = { .filled = 0 };

    while (left) {
        size_t n = left < sizeof(buffer) ? left : sizeof(buffer);
        ssize_t r = take(tail, source, buffer, n, error);

        if (r < 0)
            return -1;
        if (!r)
            break;
        n = scan_bytes(&scan, buffer, r);
        if (!scan.ended || !tail->stop_at_end)
            n = r;
        if (tail->bytes + n > XENSAVE_SURROUNDINGS_MAX) {
            errno = EFBIG;
            return fail(error, "more than 1 GiB");
        }
        if (tail->out >= 0 && write_all(tail->out, buffer, n))
            return fail(error, "writing");
        tail->bytes += n;
        left -= n;
        if (scan.ended && tail->stop_at_end)
            break;
    }
    tail->ended = scan.ended && !scan.skip;
    return 0;
}

int tail_copy(struct tail *tail, struct xensave_error *error)
{
    uint64_t left = tail->limit;
    struct xensave_source *source;
    int r;

    *error = (struct xensave_error){ 0 };
    source = open_source(tail, &left, error);
    if (!source && error->text[0])
        return -1;
    tail->bytes = 0;
    r = copy(tail, source, left, error);
    xensave_source_free(source);
    return r;
}
