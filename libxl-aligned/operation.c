/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is under way in this process: how far it is, which helper moves its
 * memory, and whether somebody has asked for its end.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#define OPERATIONS 64

struct operation {
    struct operation_info info;
    struct stat st; /* of info.fd */
    struct progress_page *page;
    char page_path[FD_PATH];
    int page_fd;
    struct entry *entry;
    char *format, *file;
    char *moved; /* where the file is now, if it moved */
};

/*
 * Written under a lock; read without one in forked children, which see a
 * snapshot (plan.c).
 */
static _Atomic(struct operation *) operations[OPERATIONS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int enter(struct operation *operation)
{
    int i, r = -1;

    pthread_mutex_lock(&lock);
    for (i = 0; i < OPERATIONS && r; i++) {
        if (atomic_load(&operations[i]))
            continue;
        atomic_store(&operations[i], operation);
        r = 0;
    }
    pthread_mutex_unlock(&lock);
    return r;
}

static void leave(struct operation *operation)
{
    int i;

    pthread_mutex_lock(&lock);
    for (i = 0; i < OPERATIONS; i++)
        if (atomic_load(&operations[i]) == operation)
            atomic_store(&operations[i], NULL);
    pthread_mutex_unlock(&lock);
}

/* ---- its life ----------------------------------------------------------- */

struct operation *operation_new(const struct operation_info *info)
{
    struct operation *operation = calloc(1, sizeof(*operation));

    if (!operation)
        return NULL;
    operation->info = *info;
    operation->page = progress_open(operation->page_path, &operation->page_fd);
    if (!operation->page || (info->fd >= 0 && fstat(info->fd, &operation->st)))
        goto failed;
    atomic_store(&progress_control(operation->page)->domid, info->domid);
    atomic_store(&operation->page->total, info->total);
    atomic_store(&operation->page->phase, PROGRESS_MEMORY);
    if (enter(operation))
        goto failed;
    return operation;

failed:
    progress_close(operation->page, operation->page_fd);
    free(operation);
    return NULL;
}

/* Of a file or device; the name it is to get comes before the one it has. */
static char *file_name(const struct operation *operation, const char *name)
{
    char path[PATH_MAX];

    if (name)
        return strdup(name);
    if (operation->info.fd < 0 || S_ISFIFO(operation->st.st_mode) ||
        S_ISSOCK(operation->st.st_mode))
        return NULL;
    return fd_read_name(operation->info.fd, path, sizeof(path)) < 0
               ? NULL
               : strdup(path);
}

void operation_start(struct operation *operation, const char *format,
                     const char *file)
{
    struct entry_text text = { 0 };

    if (!operation)
        return;
    operation->format = format ? strdup(format) : NULL;
    operation->file = file_name(operation, file);
    text.kind = operation->info.kind;
    text.domain = operation->info.domain[0] ? operation->info.domain : NULL;
    text.format = operation->format;
    text.file = operation->file;
    if (!strcmp(text.kind, "migrate") || !strcmp(text.kind, "receive"))
        text.peer = environment.peer;
    operation->entry = entry_begin(operation, &text);
}

void operation_end(struct operation *operation, int rc, xentoollog_logger *lg)
{
    bool cancelled = operation_cancelled(operation);

    if (!operation)
        return;
    leave(operation);
    atomic_store(&progress_control(operation->page)->helper.pid, 0);
    if (rc && cancelled)
        report(lg, XTL_ERROR, "%s: ended on request", operation->info.kind);
    /* If xenstore does not answer, it is not ours to free any more. */
    if (!entry_end(operation->entry,
                   !rc         ? "complete"
                   : cancelled ? "cancelled"
                               : "failed",
                   operation->moved))
        return;
    progress_close(operation->page, operation->page_fd);
    free(operation->format);
    free(operation->file);
    free(operation->moved);
    free(operation);
}

/* ---- how far it is ------------------------------------------------------ */

void operation_phase(struct operation *operation, uint32_t phase)
{
    if (operation)
        atomic_store(&operation->page->phase, phase);
}

void operation_done(struct operation *operation, uint64_t octets)
{
    if (operation)
        atomic_store(&operation->page->done, octets);
}

void operation_moved(struct operation *operation, char *path)
{
    if (operation)
        operation->moved = path;
    else
        free(path);
}

/* What a helper without our library has moved, by the word of the kernel. */
static uint64_t moved_by(pid_t helper, bool restore)
{
    char path[32], line[64];
    unsigned long long octets = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%ld/io", (long)helper);
    file = fopen(path, "re");
    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, restore ? "rchar: %llu" : "wchar: %llu", &octets) ==
            1)
            break;
    fclose(file);
    return octets;
}

void operation_sample(const struct operation *operation,
                      struct operation_sample *sample)
{
    struct progress_control *control = progress_control(operation->page);
    pid_t helper = atomic_load(&control->helper.pid);

    sample->domid = atomic_load(&control->domid);
    sample->phase = atomic_load(&operation->page->phase);
    sample->total = atomic_load(&operation->page->total);
    sample->done = atomic_load(&operation->page->done);
    sample->written = atomic_load(&operation->page->written);
    if (!sample->done && helper > 0)
        sample->done = moved_by(helper, operation->info.restore);
}

/* ---- its end ------------------------------------------------------------ */

void operation_cancel(struct operation *operation)
{
    struct progress_control *control = progress_control(operation->page);
    struct process helper;

    /* In this order: the child does the reverse, so one of us notices. */
    atomic_store(&control->cancelled, 1);
    xensave_helper_get(&control->helper, &helper);
    if (helper.pid > 0)
        process_signal(&helper, SIGTERM);
}

bool operation_cancelled(const struct operation *operation)
{
    return operation &&
           atomic_load(&progress_control(operation->page)->cancelled);
}

/* ---- in the child that becomes a helper --------------------------------- */

const char *operation_child(int fd, bool restore, uint32_t domid)
{
    struct operation *found = NULL, *operation;
    struct progress_control *control;
    struct stat st;
    int i;

    if (fstat(fd, &st))
        return NULL;
    for (i = 0; i < OPERATIONS; i++) {
        operation = atomic_load(&operations[i]);
        if (!operation || operation->info.fd < 0 ||
            operation->info.restore != restore ||
            !stat_same(&operation->st, &st))
            continue;
        /* libxl hands the helper a duplicate of fds 0 to 2. */
        if (operation->info.fd == fd || (!found && operation->info.fd <= 2))
            found = operation;
    }
    if (!found)
        return NULL;
    control = progress_control(found->page);
    atomic_store(&control->domid, domid);
    xensave_helper_enter(&control->helper);
    if (atomic_load(&control->cancelled))
        _exit(1);
    return found->page_path;
}
