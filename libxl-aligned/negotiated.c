/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a transport has agreed on with the receiver of a migration: written to
 * a file before the toolstack reads the banner (docs/spec/negotiation.md,
 * section 7).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "save.h"

#define FORMAT   "format="
#define FEATURES "features="

/* What the file says, up to a NUL; -1 with errno. */
static int read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), errnum;
    ssize_t r;

    if (fd < 0)
        return -1;
    r = read(fd, text, size - 1);
    errnum = errno;
    close(fd);
    errno = errnum;
    text[r < 0 ? 0 : r] = '\0';
    return r < 0 ? -1 : 0;
}

/* Cuts the first line off; what follows it. */
static const char *cut_line(char *text)
{
    char *end = text + strcspn(text, "\n");

    if (!*end)
        return end;
    *end = '\0';
    return end + 1;
}

static uint64_t parse_features(const char *text)
{
    return strncmp(text, FEATURES, strlen(FEATURES))
               ? 0
               : strtoull(text + strlen(FEATURES), NULL, 16);
}

/* The receiver, and not the user, decides; the user is told. */
static void restrict_compression(struct stream_plan *stream, uint64_t features,
                                 xentoollog_logger *lg)
{
    enum xensave_codec codec = stream->compression.codec;

    /* The configuration is about files. */
    if (!environment.compress)
        codec = XENSAVE_CODEC_NONE;
    if (codec && stream->format != XENSAVE_FORMAT_V3) {
        report(lg, XTL_WARN,
               "sending uncompressed: stream version 2 knows "
               "no compression, and the receiver no other version");
        codec = XENSAVE_CODEC_NONE;
    } else if (codec && !(features & xensave_codec_feature(codec))) {
        report(lg, XTL_WARN,
               "sending uncompressed: the receiver does not "
               "know %s",
               xensave_codec_name(codec));
        codec = XENSAVE_CODEC_NONE;
    }
    stream->compression.codec = codec;
}

void negotiated_stream(struct stream_plan *stream, xentoollog_logger *lg)
{
    const char *features = "";
    enum xensave_format format;
    char text[sizeof(((struct handoff_board *)NULL)->negotiated)];

    /* Every receiver reads it, also one that has agreed to v3. */
    stream->format = XENSAVE_FORMAT_V2;
    if (read_text(environment.negotiated, text, sizeof(text))) {
        report(lg, XTL_WARN,
               "sending v2: what was negotiated cannot be "
               "read: %s: %s",
               environment.negotiated, strerror(errno));
    } else {
        features = cut_line(text);
        if (strncmp(text, FORMAT, strlen(FORMAT)) ||
            xensave_format_parse(text + strlen(FORMAT), &format) ||
            format == XENSAVE_FORMAT_COMPAT)
            report(lg, XTL_WARN,
                   "sending v2: \"%s\" in %s is nothing that "
                   "is negotiated",
                   text, environment.negotiated);
        else
            stream->format = format;
    }
    restrict_compression(stream, parse_features(features), lg);
}
