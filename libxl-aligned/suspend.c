/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libxl_domain_suspend: chooses the format and reserves space before the call,
 * commits after it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "identity.h"
#include "save.h"

/* Asynchronous saves that xl_aligned_suspend_complete will end. */
static struct save *pending;
static pthread_mutex_t pending_lock = PTHREAD_MUTEX_INITIALIZER;

static void save_free(struct save *save)
{
    if (!save)
        return;
    free(save->commit_name);
    free(save);
}

/* An error of libxl's, with `*made` NULL, or 0. */
static int save_new(struct save **made, int fd, const xl_aligned_options *opts)
{
    struct save *save = calloc(1, sizeof(*save));

    *made = NULL;
    if (!save)
        return ERROR_NOMEM;
    save->stock = true;
    save->format = "stock";
    save->lg = opts->lg;
    if (opts->commit_name) {
        save->commit_name = strdup(opts->commit_name);
        if (!save->commit_name) {
            save_free(save);
            return ERROR_NOMEM;
        }
    }
    save->operation = operation_new(fd, false);
    if (!save->operation) {
        report(save->lg, XTL_ERROR, "not saved: fstat: %s", strerror(errno));
        save_free(save);
        return ERROR_FAIL;
    }
    *made = save;
    return 0;
}

/* ---- before ------------------------------------------------------------- */

static enum xensave_format file_format(const xl_aligned_options *opts)
{
    return opts->format == XL_ALIGNED_FORMAT_AUTO
               ? XENSAVE_FORMAT_V3
               : (enum xensave_format)opts->format;
}

/* compat needs a stream start on 8 bytes, spec 4. */
static int align_head(struct save *save, struct stream_plan *stream)
{
    struct xensave_error error = { 0 };
    off_t offset = lseek(save->operation->fd, 0, SEEK_CUR);

    if (offset < 0 || lseek(save->operation->file, offset, SEEK_SET) != offset)
        goto failed;
    if (xensave_file_align_head(save->operation->file, &stream->head_padding,
                                &error)) {
        report(save->lg, XTL_WARN, "saving as v2, not compat: %s", error.text);
        stream->format = XENSAVE_FORMAT_V2;
        return 0;
    }
    offset += stream->head_padding;
    if (lseek(save->operation->fd, offset, SEEK_SET) == offset)
        return 0;
failed:
    return save_fail(save, "lseek");
}

static int prepare_file(struct save *save, const struct real *real,
                        libxl_ctx *ctx, uint32_t domid,
                        const xl_aligned_options *opts,
                        struct stream_plan *stream)
{
    off_t offset;
    int rc;

    stream->format = file_format(opts);
    if (stream->format == XENSAVE_FORMAT_COMPAT) {
        rc = align_head(save, stream);
        if (rc)
            return rc;
    }
    offset = lseek(save->operation->fd, 0, SEEK_CUR);
    if (offset < 0)
        return save_fail(save, "lseek");
    save->libxl_offset = offset;
    /* The size now includes xl's header and the padding. */
    if (fstat(save->operation->fd, &save->operation->st))
        return save_fail(save, "fstat");
    if (!opts->reserve)
        return 0;
    return reserve_space(real, ctx, domid, save->operation->file,
                         &save->operation->st, offset, stream->format,
                         save->lg);
}

/* A file or device that can be read back and written at any offset. */
static bool is_file(struct save *save)
{
    struct operation *operation = save->operation;
    int flags = fcntl(operation->fd, F_GETFL);

    if (!S_ISREG(save->operation->st.st_mode) &&
        !S_ISBLK(operation->st.st_mode))
        return false;
    /* Appending puts every write at the end: offsets mean nothing. */
    if (flags < 0 || (flags & O_APPEND))
        return false;
    if (!operation_open_file(operation))
        return true;
    report(save->lg, XTL_WARN,
           "using stock save: the file cannot be opened for reading: %s",
           strerror(errno));
    return false;
}

/* Falls back to stock: undoes what was done to the file. */
static int give_way(const struct save *save)
{
    report(save->lg, XTL_WARN,
           "using stock save: too many operations at once");
    if (!S_ISREG(save->operation->st.st_mode) ||
        !ftruncate(save->operation->file, save->operation->st.st_size))
        return 0;
    return save_fail(save, "ftruncate");
}

/* The reader of a pipe or socket may support v2 only. */
static void choose_stream(struct stream_plan *stream,
                          const xl_aligned_options *opts)
{
    if (environment.negotiated) {
        negotiated_stream(stream, opts->lg);
        return;
    }
    stream->format = opts->any_reader ? file_format(opts) : XENSAVE_FORMAT_V2;
    /* Requested for this command, not just in the configuration. */
    if (environment.compress && stream->compression.codec &&
        stream->format != XENSAVE_FORMAT_V3)
        report(opts->lg, XTL_WARN,
               "sending uncompressed: a pipe gets v2, which has no "
               "compression, unless format v3 is requested too");
}

/* Chooses how to save.  After an error the domain must not be touched. */
static int save_begin(struct save *save, const struct runtime *runtime,
                      libxl_ctx *ctx, uint32_t domid, bool usable,
                      const xl_aligned_options *opts)
{
    struct stream_plan stream = {
        .format = file_format(opts),
        /* Space is reserved here, not in the helper. */
        .io = { .io = opts->io, .engine = opts->engine },
        .compression = opts->compression,
    };
    int rc;

    if (is_file(save)) {
        if (!usable)
            return 0;
        rc = prepare_file(save, &runtime->real, ctx, domid, opts, &stream);
        if (rc)
            return rc;
    } else {
        if (!usable || !operation_is_stream(save->operation))
            return 0;
        choose_stream(&stream, opts);
        if (stream.format == XENSAVE_FORMAT_V2)
            return 0;
    }

    save->planned = stream.format;
    save->stock = operation_plan(save->operation, &stream);
    if (save->stock)
        return give_way(save);
    save->format = xensave_format_name(stream.format);
    return 0;
}

/* ---- both --------------------------------------------------------------- */

static void save_publish(struct save *save, const struct real *real,
                         libxl_ctx *ctx, uint32_t domid, int flags)
{
    const struct stat *st = &save->operation->st;
    bool migrates = S_ISSOCK(st->st_mode) || environment.negotiated ||
                    (S_ISFIFO(st->st_mode) && (flags & LIBXL_SUSPEND_LIVE));
    struct operation_info info = {
        .kind = migrates ? "migrate" : "save",
        .domid = domid,
        .format = save->format,
        .file = save->commit_name,
    };
    struct dominfo dominfo;

    dominfo_read(real, ctx, domid, &dominfo);
    info.total = dominfo.memory;
    if (!save->stock && save->planned == XENSAVE_FORMAT_V3)
        info.identity = identity_lines(ctx, domid, &dominfo,
                                       migrates ? "migration"
                                       : flags & LIBXL_SUSPEND_LIVE
                                           ? "checkpoint"
                                           : "save");
    operation_publish(save->operation, &info);
}

static void pending_add(struct save *save)
{
    pthread_mutex_lock(&pending_lock);
    save->next = pending;
    pending = save;
    pthread_mutex_unlock(&pending_lock);
}

static struct save *pending_take(int fd)
{
    struct save **link, *save;

    pthread_mutex_lock(&pending_lock);
    for (link = &pending; *link && (*link)->operation->fd != fd;
         link = &(*link)->next)
        ;
    save = *link;
    if (save)
        *link = save->next;
    pthread_mutex_unlock(&pending_lock);
    return save;
}

static int suspend_domain(libxl_ctx *ctx, uint32_t domid, int fd, int flags,
                          const xl_aligned_options *opts, bool preloaded,
                          const libxl_asyncop_how *ao_how)
{
    const struct runtime *runtime = runtime_get();
    struct downtime *downtime;
    struct save *save;
    bool interruptible;
    int rc;

    rc = save_new(&save, fd, opts);
    if (rc)
        return rc;
    save->preloaded = preloaded;
    rc = save_begin(save, runtime, ctx, domid,
                    runtime_usable(runtime, opts->lg), opts);
    if (rc) {
        save_end(save, rc);
        goto out;
    }

    save_publish(save, &runtime->real, ctx, domid, flags);
    /* A program that uses the API handles its signals itself. */
    interruptible = preloaded && !save->stock;
    save->operation->interruptible = interruptible;
    save->resumes = preloaded && !ao_how &&
                    !operation_is_stream(save->operation) &&
                    resume_is_ours(&runtime->real, ctx, domid);
    save->ctx = ctx;
    save->domid = domid;
    if (interruptible)
        interrupt_begin();

    downtime = ao_how ? NULL : downtime_begin(&runtime->real, ctx, domid);
    rc = runtime->real.suspend(ctx, domid, fd, flags, ao_how);
    downtime_end(downtime);
    if (ao_how && !rc) {
        pending_add(save);
        return 0;
    }
    rc = save_end(save, rc);
    if (interruptible)
        interrupt_end();

out:
    save_free(save);
    return rc;
}

EXPORT int libxl_domain_suspend(libxl_ctx *ctx, uint32_t domid, int fd,
                                int flags, const libxl_asyncop_how *ao_how)
{
    const struct runtime *runtime = runtime_get();

    if (!runtime->real.suspend)
        return ERROR_NI;
    flags = live_flags(&runtime->real, ctx, domid, flags, runtime->opts.lg);
    /* Its end is not seen here, so it cannot be committed. */
    if (ao_how) {
        operation_forget(fd);
        return runtime->real.suspend(ctx, domid, fd, flags, ao_how);
    }
    return suspend_domain(ctx, domid, fd, flags, &runtime->opts, true, NULL);
}

EXPORT int xl_aligned_domain_suspend(libxl_ctx *ctx, uint32_t domid, int fd,
                                     int flags, const xl_aligned_options *opts,
                                     const libxl_asyncop_how *ao_how)
{
    const struct runtime *runtime = runtime_get();

    if (!runtime->real.suspend)
        return ERROR_NI;
    return suspend_domain(ctx, domid, fd, flags, opts ? opts : &runtime->opts,
                          false, ao_how);
}

EXPORT int xl_aligned_suspend_complete(int fd, int result)
{
    struct save *save = pending_take(fd);
    int rc;

    if (!save)
        return result ? result : ERROR_INVAL;
    rc = save_end(save, result);
    save_free(save);
    return rc;
}
