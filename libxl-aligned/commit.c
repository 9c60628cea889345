/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes a saved file final.  Only when all of this has succeeded may the
 * toolstack destroy the domain.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"
#include "common/partial.h"

int commit_file(int fd, uint64_t libxl_offset, uint64_t file_length,
                enum xensave_format format, xentoollog_logger *lg)
{
    struct xensave_file savefile;
    struct xensave_error error = { 0 };

    if (xensave_file_probe(fd, libxl_offset, &savefile, &error) ||
        xensave_file_commit(fd, &savefile, file_length, &error)) {
        report(lg, XTL_ERROR, "not saved: %s", error.text);
        return ERROR_FAIL;
    }
    /* AppArmor may keep LD_PRELOAD from what libvirt's daemon starts. */
    if (savefile.format != format)
        report(lg, XTL_WARN,
               "saved as %s, not %s: the save helper ran "
               "without its library",
               xensave_format_name(savefile.format),
               xensave_format_name(format));
    return 0;
}

int commit_rename(int fd, const char *name, xentoollog_logger *lg)
{
    struct partial file;
    int r = partial_attach(&file, fd, name);

    if (!r)
        r = partial_rename(&file);
    if (r)
        report(lg, XTL_ERROR, "not saved: the file for %s: %s", name,
               file.reason);
    partial_close(&file);
    return r ? ERROR_FAIL : 0;
}

int commit_folder(int fd, xentoollog_logger *lg)
{
    struct partial file;
    int rc = 0;

    /* Whoever took the name away does not need it. */
    if (partial_attach(&file, fd, NULL))
        return 0;
    if (partial_sync_directory(&file)) {
        report(lg, XTL_ERROR, "not saved: %s/%s: %s", file.directory,
               file.temporary, file.reason);
        rc = ERROR_FAIL;
    }
    partial_close(&file);
    return rc;
}

bool commit_discard(int fd, bool sole)
{
    struct partial file;
    bool removed;

    if (partial_attach(&file, fd, NULL))
        return false;
    removed = !sole || (file.st.st_nlink == 1 && file.st.st_uid == geteuid());
    if (removed)
        partial_discard(&file);
    partial_close(&file);
    return removed;
}
