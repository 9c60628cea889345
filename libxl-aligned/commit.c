/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The end of a save: the file is complete on stable storage, or removed. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "save.h"

int save_fail(const struct save *save, const char *what)
{
    report(save->lg, XTL_ERROR, "not saved: %s: %s", what, strerror(errno));
    return ERROR_FAIL;
}

static int commit_contents(const struct save *save)
{
    struct operation *operation = save->operation;
    struct xensave_file savefile;
    struct xensave_error error = { 0 };
    off_t length;

    /* A file that was marked complete would be kept. */
    if (operation_cancelled(operation))
        return ERROR_FAIL;
    length = lseek(operation->fd, 0, SEEK_CUR);
    if (length < 0)
        return save_fail(save, "lseek");
    operation_phase(operation, PROGRESS_COMMIT);
    if (xensave_file_probe(operation->file, save->libxl_offset, &savefile,
                           &error) ||
        xensave_file_commit(operation->file, &savefile, length, &error)) {
        report(save->lg, XTL_ERROR, "not saved: %s", error.text);
        return ERROR_FAIL;
    }
    /* AppArmor may remove LD_PRELOAD from what libvirt's daemon starts. */
    if (savefile.format != save->planned)
        report(save->lg, XTL_WARN,
               "saved as %s, not %s: the save helper ran "
               "without its library",
               xensave_format_name(savefile.format),
               xensave_format_name(save->planned));
    return 0;
}

static int commit_name(const struct save *save)
{
    struct partial *place = &save->operation->place;
    const char *name = save->commit_name;
    int r;

    if (name && !save->stock && operation_cancelled(save->operation))
        return ERROR_FAIL;
    /* A file that was unlinked has no name to sync. */
    if (!name && place->dirfd < 0)
        return 0;
    r = name ? partial_rename_to(place, name) : partial_sync_directory(place);
    if (!r)
        return 0;
    report(save->lg, XTL_ERROR, "not saved: %s: %s",
           name ? name : save->operation->name, place->reason);
    return ERROR_FAIL;
}

static int commit(const struct save *save)
{
    const struct operation *operation = save->operation;
    int rc = 0;

    if (!S_ISREG(operation->st.st_mode) && !S_ISBLK(operation->st.st_mode))
        return 0;
    /* Plain libxl does not sync; a success means stable storage anyway. */
    if (!save->stock)
        rc = commit_contents(save);
    else if (fsync(operation->fd) && errno != EINVAL)
        rc = save_fail(save, "fsync");
    return rc || !S_ISREG(operation->st.st_mode) ? rc : commit_name(save);
}

/*
 * Leaves nothing that looks like a saved domain: xendomains would restore it
 * instead of starting the guest.  Users of the API keep their file and its
 * head.
 */
static void discard(const struct save *save)
{
    const struct operation *operation = save->operation;
    bool removed = save->commit_name;
    struct stat st;

    if (!S_ISREG(operation->st.st_mode))
        return;
    /* Only the caller's own file, and only if it has no other name. */
    if (!removed && save->preloaded)
        removed = !fstat(operation->fd, &st) && st.st_nlink == 1 &&
                  st.st_uid == geteuid();
    if (removed)
        removed = partial_discard(&operation->place);
    /* Reserved space is freed, too. */
    if ((!save->stock || (save->preloaded && !removed)) &&
        ftruncate(operation->fd, save->preloaded ? 0 : save->libxl_offset))
        report(save->lg, XTL_WARN,
               "the file of the failed save could not be "
               "truncated: %s",
               strerror(errno));
}

int save_end(struct save *save, int rc)
{
    if (!rc)
        rc = commit(save);
    if (rc)
        discard(save);
    if (rc && save->resumes)
        resume_domain(&runtime_get()->real, save->ctx, save->domid, save->lg);
    operation_end(save->operation, rc, save->lg);
    save->operation = NULL;
    return rc;
}
