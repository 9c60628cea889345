/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a toolstack saves a domain with libxl-aligned.
 *
 *     cc -c toolstack.c $(pkg-config --cflags libxl-aligned)
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libxl-aligned.h>

int toolstack_save(libxl_ctx *ctx, uint32_t domid, const char *partial,
                   const char *path, xentoollog_logger *lg);

/*
 * Saves to `partial`, which becomes `path` (absolute, in the same directory)
 * when it is on stable storage.  The toolstack's own header belongs at the
 * start of the file, before the call.
 */
int toolstack_save(libxl_ctx *ctx, uint32_t domid, const char *partial,
                   const char *path, xentoollog_logger *lg)
{
    xl_aligned_options options;
    int fd, rc;

    rc = xl_aligned_options_init(&options, lg);
    if (rc)
        return rc;
    options.format = XENSAVE_FORMAT_V3;
    free(options.commit_name);
    options.commit_name = strdup(path);
    fd = open(partial, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (!options.commit_name || fd < 0) {
        rc = ERROR_FAIL;
        goto out;
    }
    rc = xl_aligned_domain_suspend(ctx, domid, fd, 0, &options, NULL);
    if (rc)
        libxl_domain_resume(ctx, domid, 1, NULL);
    else
        rc = libxl_domain_destroy(ctx, domid, NULL);

out:
    if (fd >= 0)
        close(fd);
    xl_aligned_options_dispose(&options);
    return rc;
}
