/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libxenguest's stream I/O goes through three functions of libxenctrl only.
 * Here they encode or decode on the stream's fd, and pass through on others.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "libxl-aligned/report.h"
#include "operation/handoff.h"
#include "stream.h"

enum state {
    PASSING, /* stock I/O, or the stream has ended */
    WAITING, /* for the first byte */
    MOVING,
    FAILED,
};

static struct stream {
    enum state state;
    struct stream_plan plan;
    struct stat st; /* of the fd when it was opened */
    char name[256];
    struct xensave_error error;
    struct xensave_sink *sink;
    struct xensave_encoder *encoder;
    struct xensave_source *source;
    struct xensave_decoder *decoder;
} stream;

static struct {
    int (*read)(int fd, void *data, size_t size);
    int (*write)(int fd, const void *data, size_t size);
    int (*writev)(int fd, const struct iovec *iov, int iovcnt);
} real;

/* ---- progress ----------------------------------------------------------- */

static struct handoff *progress;

static void stream_progress(const struct xensave_totals *totals,
                            const struct xensave_passes *passes)
{
    uint32_t i;

    if (!progress)
        return;
    for (i = 0; i < passes->count; i++)
        atomic_store_explicit(&progress->pass_pages[i], passes->pages[i],
                              memory_order_relaxed);
    atomic_store_explicit(&progress->passes, passes->count,
                          memory_order_release);
    atomic_store_explicit(&progress->done, totals->v2_bytes,
                          memory_order_relaxed);
    atomic_store_explicit(&progress->written, totals->bytes,
                          memory_order_relaxed);
}

static void stream_progress_read(const struct xensave_totals *totals,
                                 bool ended)
{
    if (!progress)
        return;
    atomic_store_explicit(&progress->done, totals->v2_bytes,
                          memory_order_relaxed);
    atomic_store_explicit(&progress->written, totals->bytes,
                          memory_order_relaxed);
    if (ended)
        atomic_store(&progress->phase, PROGRESS_DEVICES);
}

/* ---- opening and closing ------------------------------------------------ */

static bool is_file(void)
{
    return S_ISREG(stream.st.st_mode) || S_ISBLK(stream.st.st_mode);
}

static void stream_close(void)
{
    xensave_encoder_free(stream.encoder);
    xensave_sink_free(stream.sink);
    xensave_decoder_free(stream.decoder);
    xensave_source_free(stream.source);
    stream.encoder = NULL;
    stream.sink = NULL;
    stream.decoder = NULL;
    stream.source = NULL;
}

static int open_save(void)
{
    const struct xensave_encoder_options options = {
        .size = sizeof(struct xensave_encoder_options),
        .format = stream.plan.format,
        .head_padding = stream.plan.head_padding,
        .compression = stream.plan.compression,
        .identity = stream.plan.identity,
    };

    stream.sink = is_file()
                      ? xensave_sink_open_file(stream.plan.fd, &stream.plan.io,
                                               &stream.error)
                      : xensave_sink_open_stream(stream.plan.fd,
                                                 &stream.error);
    if (!stream.sink)
        return -1;
    stream.encoder = xensave_encoder_new(stream.sink, &options);
    return stream.encoder ? 0 : -1;
}

static int open_restore(void)
{
    struct xensave_error error = { 0 };

    if (is_file())
        stream.source = xensave_source_open_file(stream.plan.fd,
                                                 &stream.plan.io,
                                                 &stream.error);
    /* Buffered reads work too, but use the page cache. */
    if (!stream.source) {
        if (is_file())
            report(NULL, XTL_WARN, "%s: %s; reading through the page cache",
                   stream.name, stream.error.text);
        stream.error = error;
        stream.source = xensave_source_open_stream(stream.plan.fd,
                                                   &stream.error);
    }
    if (!stream.source)
        return -1;
    stream.decoder = xensave_decoder_new(stream.source);
    return stream.decoder ? 0 : -1;
}

/* Before the first byte: after an error stock I/O is still possible. */
static void stream_open(void)
{
    int r = stream.plan.restore ? open_restore() : open_save();

    if (!r) {
        stream.state = MOVING;
        return;
    }
    report(NULL, XTL_WARN, "%s: %s; using the stock stream", stream.name,
           stream.error.text);
    stream_close();
    stream.state = PASSING;
}

void stream_activate(const struct stream_plan *plan)
{
    if (fstat(plan->fd, &stream.st))
        return;
    fd_name(plan->fd, stream.name, sizeof(stream.name));
    stream.plan = *plan;
    progress = *plan->progress ? handoff_map(plan->progress) : NULL;
    stream.state = WAITING;
}

/*
 * After an abort no write may still be in flight to a file that the toolstack
 * is about to truncate or remove.
 */
static void __attribute__((destructor)) stream_exit(void)
{
    stream_close();
}

/* ---- each call ---------------------------------------------------------- */

static int stream_fail(int errnum, const char *text)
{
    stream.state = FAILED;
    /* Errors of the file name it, those of the stream do not. */
    if (strstr(text, stream.name))
        report(NULL, XTL_ERROR, "%s", text);
    else
        report(NULL, XTL_ERROR, "%s: %s", stream.name, text);
    /* No write may complete after the error. */
    stream_close();
    stream.error.errnum = errnum ? errnum : EIO;
    errno = stream.error.errnum;
    return -1;
}

/*
 * To abort, the helper replaces the stream's fd with /dev/null and expects the
 * next write to fail.  The encoder writes to another fd, so check here.
 */
static bool fd_replaced(void)
{
    struct stat st;

    return fstat(stream.plan.fd, &st) || !stat_same(&st, &stream.st);
}

static bool is_ours(int fd, bool restore)
{
    if (stream.state == PASSING || fd != stream.plan.fd ||
        restore != stream.plan.restore)
        return false;
    if (stream.state == WAITING)
        stream_open();
    return stream.state != PASSING;
}

static int stream_write(const struct iovec *iov, int iovcnt)
{
    struct xensave_totals totals;
    struct xensave_passes passes;

    if (stream.state == FAILED) {
        errno = stream.error.errnum;
        return -1;
    }
    if (fd_replaced())
        return stream_fail(EBADF, "save cancelled");
    if (xensave_encoder_pushv(stream.encoder, iov, iovcnt))
        return stream_fail(stream.error.errnum, stream.error.text);
    xensave_encoder_totals(stream.encoder, &totals);
    xensave_encoder_passes(stream.encoder, &passes);
    stream_progress(&totals, &passes);
    if (!xensave_encoder_ended(stream.encoder))
        return 0;

    /* The helper reports success as soon as END is written. */
    if (fd_replaced())
        return stream_fail(EBADF, "save cancelled");
    stream_close();
    stream.state = PASSING;
    return 0;
}

static int stream_read(void *data, size_t size)
{
    struct xensave_totals totals;

    if (stream.state == FAILED) {
        errno = stream.error.errnum;
        return -1;
    }
    if (xensave_decoder_read(stream.decoder, data, size))
        return stream_fail(stream.error.errnum, stream.error.text);
    xensave_decoder_totals(stream.decoder, &totals);
    stream_progress_read(&totals, xensave_decoder_ended(stream.decoder));
    if (xensave_decoder_ended(stream.decoder)) {
        stream_close();
        stream.state = PASSING;
    }
    return 0;
}

/* ---- interposed functions --------------------------------------------- */

static bool find(void **symbol, const char *name)
{
    if (!*symbol)
        *symbol = dlsym(RTLD_NEXT, name);
    if (!*symbol)
        errno = ENOSYS;
    return *symbol;
}

EXPORT int read_exact(int fd, void *data, size_t size)
{
    if (is_ours(fd, true))
        return stream_read(data, size);
    if (!find((void **)&real.read, "read_exact"))
        return -1;
    return real.read(fd, data, size);
}

EXPORT int write_exact(int fd, const void *data, size_t size)
{
    const struct iovec iov = { .iov_base = (void *)data, .iov_len = size };

    if (is_ours(fd, false))
        return stream_write(&iov, 1);
    if (!find((void **)&real.write, "write_exact"))
        return -1;
    return real.write(fd, data, size);
}

EXPORT int writev_exact(int fd, const struct iovec *iov, int iovcnt)
{
    if (is_ours(fd, false))
        return stream_write(iov, iovcnt);
    if (!find((void **)&real.writev, "writev_exact"))
        return -1;
    return real.writev(fd, iov, iovcnt);
}
