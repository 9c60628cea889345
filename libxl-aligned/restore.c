/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libxl_domain_create_restore: refuse what cannot become a whole domain while
 * there is none, and let the stream library read the rest in the helper.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dominfo.h"
#include "operation.h"
#include "report.h"
#include "restore.h"

/* Errors of the stream itself do not know what file it is in. */
static void add_name(int fd, struct xensave_error *error)
{
    char name[PATH_MAX], text[sizeof(error->text)];

    if (fd_read_name(fd, name, sizeof(name)) < 0 || strstr(error->text, name))
        return;
    snprintf(text, sizeof(text), "%.255s: %.*s", name,
             (int)sizeof(text) - 255 - 3, error->text);
    memcpy(error->text, text, sizeof(text));
}

EXPORT int xl_aligned_probe(int fd, uint64_t libxl_offset,
                            struct xensave_file *savefile,
                            struct xensave_error *error)
{
    if (!xensave_file_probe(fd, libxl_offset, savefile, error) &&
        !xensave_file_check(fd, savefile, error))
        return 0;
    add_name(fd, error);
    return ERROR_FAIL;
}

/*
 * A file that cannot be read as what the caller takes it for is refused, since
 * libxl would find out only with a domain half built.  What this library does
 * not know, or from before Xen 4.6, is left to libxl.
 */
static bool is_unknown(const struct xensave_file *savefile,
                       const struct xensave_error *error,
                       const libxl_domain_restore_params *params)
{
    return savefile->format != XENSAVE_FORMAT_V3 &&
           (params->stream_version < 2 || error->errnum == ENOTSUP);
}

/* What is known of a restore before it begins. */
struct choice {
    bool ours;          /* to be read by the stream library, */
    bool v3;            /* and by nothing else */
    const char *format; /* NULL: found out by reading */
    uint64_t memory;    /* bytes; 0: not known */
};

/* Stock would find out that it cannot with a domain half built. */
static int check_v3(int fd, const struct runtime *runtime,
                    xentoollog_logger *lg)
{
    char name[PATH_MAX], why[sizeof(runtime->why) + PATH_MAX];
    bool usable = !runtime->why[0];

    if (usable && !helper_try(runtime, why, sizeof(why)))
        return 0;
    fd_name(fd, name, sizeof(name));
    report(lg, XTL_ERROR,
           "not restored: %s: a v3 file, which only the plugin "
           "can restore: %s",
           name, usable ? why : runtime->why);
    return ERROR_FAIL;
}

/* ERROR_FAIL: not to be restored. */
static int choose(int fd, const libxl_domain_restore_params *params,
                  const xl_aligned_options *opts,
                  const struct runtime *runtime, struct choice *choice)
{
    bool usable = runtime_usable(runtime, opts->lg) &&
                  params->stream_version >= 2;
    struct xensave_file savefile;
    struct xensave_error error = { 0 };
    struct stat st;
    off_t offset;

    if (fstat(fd, &st))
        return 0;
    /* What comes through these is seen only by reading it. */
    if (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)) {
        choice->ours = usable;
        return 0;
    }
    offset = lseek(fd, 0, SEEK_CUR);
    if ((!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) || offset < 0)
        return 0;
    if (xl_aligned_probe(fd, offset, &savefile, &error)) {
        if (is_unknown(&savefile, &error, params) ||
            (!usable && savefile.format != XENSAVE_FORMAT_V3))
            return 0;
        report(opts->lg, XTL_ERROR, "not restored: %s", error.text);
        return ERROR_FAIL;
    }
    choice->ours = usable;
    choice->v3 = savefile.format == XENSAVE_FORMAT_V3;
    choice->format = xensave_format_name(savefile.format);
    choice->memory = choice->v3 ? (savefile.header.pages_stored +
                                   savefile.header.pages_zero) *
                                      XENSAVE_V2_PAGE_SIZE
                                : savefile.file_size - savefile.stream_start;
    return choice->v3 ? check_v3(fd, runtime, opts->lg) : 0;
}

static void restore_publish(struct operation *operation, int send_back_fd,
                            const struct choice *choice,
                            const struct domain_config *config)
{
    struct operation_info info = {
        .kind = "restore",
        .domid = DOMID_UNKNOWN,
        .total = choice->memory,
        .format = choice->ours ? choice->format : "stock",
    };

    memcpy(info.domain, config->name, sizeof(info.domain));
    if (!info.total && config->memory_kib > 0)
        info.total = (uint64_t)config->memory_kib << 10;
    if (send_back_fd >= 0 || S_ISSOCK(operation->st.st_mode))
        info.kind = "receive";
    operation_publish(operation, &info);
}

static int restore_domain(libxl_ctx *ctx, libxl_domain_config *d_config,
                          uint32_t *domid, int restore_fd, int send_back_fd,
                          const libxl_domain_restore_params *params,
                          const xl_aligned_options *opts,
                          const libxl_asyncop_how *ao_how,
                          const libxl_asyncprogress_how *aop_console_how)
{
    const struct runtime *runtime = runtime_get();
    struct stream_plan stream = {
        .restore = true,
        .format = XENSAVE_FORMAT_V2, /* found out by reading */
        .io = { .io = opts->restore_io, .engine = opts->engine },
    };
    struct choice choice = { 0 };
    struct operation *operation = NULL;
    struct domain_config config;
    int rc;

    /* NULL: libxl is told of a bad descriptor by itself. */
    if (restore_fd >= 0)
        operation = operation_new(restore_fd, true);
    /* Remus and COLO are left alone. */
    if (restore_fd >= 0 && params &&
        params->checkpointed_stream == LIBXL_CHECKPOINTED_STREAM_NONE) {
        rc = choose(restore_fd, params, opts, runtime, &choice);
        if (rc)
            goto out;
    }
    if (choice.ours && (!operation || operation_plan(operation, &stream))) {
        if (choice.v3) {
            report(opts->lg, XTL_ERROR, "not restored: too many at once");
            rc = ERROR_FAIL;
            goto out;
        }
        choice.ours = false;
        report(opts->lg, XTL_WARN, "using stock restore: too many at once");
    }
    /* With ao_how its end is not ours to see. */
    if (!ao_how && operation) {
        domain_config(&runtime->real, ctx, d_config, &config);
        restore_publish(operation, send_back_fd, &choice, &config);
    }

    rc = runtime->real.create_restore(ctx, d_config, domid, restore_fd,
                                      send_back_fd, params, ao_how,
                                      aop_console_how);
    /* With ao_how the helper may start after this call has returned. */
    if (ao_how && !rc) {
        operation_abandon(operation);
        return 0;
    }

out:
    if (rc) {
        *domid = INVALID_DOMID; /* as libxl leaves it */
        operation_moved(operation, rescue_file(restore_fd, opts->lg));
    }
    operation_end(operation, rc, opts->lg);
    return rc;
}

EXPORT int libxl_domain_create_restore(
    libxl_ctx *ctx, libxl_domain_config *d_config, uint32_t *domid,
    int restore_fd, int send_back_fd,
    const libxl_domain_restore_params *params, const libxl_asyncop_how *ao_how,
    const libxl_asyncprogress_how *aop_console_how)
{
    const struct runtime *runtime = runtime_get();

    if (!runtime->real.create_restore)
        return ERROR_NI;
    return restore_domain(ctx, d_config, domid, restore_fd, send_back_fd,
                          params, &runtime->opts, ao_how, aop_console_how);
}

EXPORT int xl_aligned_domain_create_restore(
    libxl_ctx *ctx, libxl_domain_config *d_config, uint32_t *domid,
    int restore_fd, int send_back_fd,
    const libxl_domain_restore_params *params, const xl_aligned_options *opts,
    const libxl_asyncop_how *ao_how,
    const libxl_asyncprogress_how *aop_console_how)
{
    const struct runtime *runtime = runtime_get();

    if (!runtime->real.create_restore)
        return ERROR_NI;
    return restore_domain(ctx, d_config, domid, restore_fd, send_back_fd,
                          params, opts ? opts : &runtime->opts, ao_how,
                          aop_console_how);
}
