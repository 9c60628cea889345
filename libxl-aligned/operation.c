/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The saves, restores and dumps of this process: the plans of their helpers,
 * progress and cancellation.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "operation/xenstore.h"
#include "publish.h"
#include "report.h"
#include "runtime.h"

#define OPERATIONS 64

/*
 * By fd, so that the child that becomes a helper finds its operation.  Written
 * under a lock; read without one in forked children, whose copy is complete
 * as far as their own operation goes: the thread that forked wrote it.
 */
static _Atomic(struct operation *) operations[OPERATIONS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Signal handlers that walk the table. */
static atomic_int readers;

static void operation_free(struct operation *operation)
{
    if (operation->page)
        munmap(operation->page, HANDOFF_SIZE);
    if (operation->page_fd >= 0)
        close(operation->page_fd);
    if (operation->file >= 0)
        close(operation->file);
    partial_close(&operation->place);
    free(operation->format);
    free(operation->name);
    free(operation->moved);
    free(operation->plan.identity);
    free(operation);
}

static void leave_locked(int i)
{
    struct operation *operation = atomic_load(&operations[i]);

    atomic_store(&operations[i], NULL);
    operation->entered = false;
    if (!operation->orphan)
        return;
    while (atomic_load(&readers))
        sched_yield();
    operation_free(operation);
}

static void leave(struct operation *operation)
{
    int i;

    pthread_mutex_lock(&lock);
    for (i = 0; i < OPERATIONS; i++)
        if (operation && atomic_load(&operations[i]) == operation)
            leave_locked(i);
    pthread_mutex_unlock(&lock);
    while (atomic_load(&readers))
        sched_yield();
}

static void forget_locked(int fd)
{
    struct operation *operation;
    int i;

    for (i = 0; i < OPERATIONS; i++) {
        operation = atomic_load(&operations[i]);
        if (operation && operation->fd == fd)
            leave_locked(i);
    }
}

void operation_forget(int fd)
{
    pthread_mutex_lock(&lock);
    forget_locked(fd);
    pthread_mutex_unlock(&lock);
}

/* The end of an orphan is not seen: the oldest is replaced if need be. */
static void enter(struct operation *operation)
{
    static uint64_t entered;
    struct operation *other, *oldest = NULL;
    int i, place = -1;

    pthread_mutex_lock(&lock);
    forget_locked(operation->fd);
    for (i = 0; i < OPERATIONS; i++) {
        other = atomic_load(&operations[i]);
        if (!other) {
            place = i;
            break;
        }
        if (other->orphan && (!oldest || other->age < oldest->age)) {
            oldest = other;
            place = i;
        }
    }
    if (place >= 0) {
        if (atomic_load(&operations[place]))
            leave_locked(place);
        operation->age = entered++;
        operation->entered = true;
        atomic_store(&operations[place], operation);
    }
    pthread_mutex_unlock(&lock);
}

/* ---- its life ----------------------------------------------------------- */

struct operation *operation_new(int fd, bool restore)
{
    struct operation *operation = calloc(1, sizeof(*operation));
    char name[PATH_MAX];
    int errnum;

    if (!operation)
        return NULL;
    operation->fd = fd;
    operation->restore = restore;
    operation->page_fd = operation->file = -1;
    operation->place = (struct partial)PARTIAL_INIT;
    if (fd < 0)
        return operation;
    if (fstat(fd, &operation->st)) {
        errnum = errno;
        free(operation);
        errno = errnum;
        return NULL;
    }
    if (!operation_is_stream(operation) &&
        fd_read_name(fd, name, sizeof(name)) >= 0)
        operation->name = strdup(name);
    if (!restore && S_ISREG(operation->st.st_mode))
        partial_attach(&operation->place, fd,
                       operation->name ? operation->name : "");
    enter(operation);
    return operation;
}

int operation_open_file(struct operation *operation)
{
    operation->file = fd_reopen(operation->fd, O_RDWR);
    return operation->file < 0 ? -1 : 0;
}

int operation_plan(struct operation *operation, const struct stream_plan *plan)
{
    if (!operation->entered)
        return -1;
    operation->plan = *plan;
    operation->planned = true;
    return 0;
}

void operation_abandon(struct operation *operation)
{
    bool entered;

    if (!operation)
        return;
    pthread_mutex_lock(&lock);
    operation->orphan = true;
    entered = operation->entered;
    pthread_mutex_unlock(&lock);
    if (!entered)
        operation_free(operation);
}

/* If there are no memfds: shared with the forked helper only. */
static struct handoff *private_page(void)
{
    void *page = mmap(NULL, HANDOFF_SIZE, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return page == MAP_FAILED ? NULL : page;
}

/* The page of the command that has started this program for one operation. */
static struct handoff *given_page(char path[FD_PATH])
{
    static atomic_flag taken = ATOMIC_FLAG_INIT;
    struct handoff *page;

    if (!environment.progress || strlen(environment.progress) >= FD_PATH ||
        /* It is part of the text of a plan. */
        strpbrk(environment.progress, ";=") ||
        atomic_flag_test_and_set(&taken))
        return NULL;
    page = handoff_map(environment.progress);
    if (page)
        strcpy(path, environment.progress);
    return page;
}

void operation_publish(struct operation *operation,
                       const struct operation_info *info)
{
    struct publish_text text = { 0 };
    char path[FD_PATH] = "";

    if (!operation)
        return;
    operation->kind = info->kind;
    operation->plan.identity = info->identity;
    operation->page = given_page(path);
    if (!operation->page)
        operation->page = handoff_create("libxl-aligned progress", path,
                                         &operation->page_fd);
    if (!operation->page)
        operation->page = private_page();
    if (!operation->page)
        return;
    strcpy(operation->plan.progress, path);
    atomic_store(&operation->page->domid, info->domid);
    atomic_store(&operation->page->total, info->total);
    atomic_store(&operation->page->phase, PROGRESS_MEMORY);
    operation->format = info->format ? strdup(info->format) : NULL;
    if (info->file) {
        free(operation->name);
        operation->name = strdup(info->file);
    }
    memcpy(operation->domain, info->domain, sizeof(operation->domain));
    text.kind = operation->kind;
    text.domain = operation->domain[0] ? operation->domain : NULL;
    text.format = operation->format;
    text.file = operation->name;
    if (!strcmp(text.kind, "migrate") || !strcmp(text.kind, "receive"))
        text.peer = environment.peer;
    operation->publisher = publish_begin(operation, &text);
}

void operation_end(struct operation *operation, int rc, xentoollog_logger *lg)
{
    bool cancelled = operation_cancelled(operation);

    if (!operation)
        return;
    leave(operation);
    if (operation->page)
        atomic_store(&operation->page->helper_pid, 0);
    if (rc && cancelled)
        report(lg, XTL_ERROR, "%s: cancelled", operation->kind);
    /* If xenstore does not answer, its thread still needs it. */
    if (publish_end(operation->publisher,
                    !rc         ? "complete"
                    : cancelled ? "cancelled"
                                : "failed",
                    operation->moved))
        operation_free(operation);
}

/* ---- progress ----------------------------------------------------------- */

void operation_phase(struct operation *operation, uint32_t phase)
{
    if (operation && operation->page)
        atomic_store(&operation->page->phase, phase);
}

void operation_done(struct operation *operation, uint64_t bytes)
{
    if (operation && operation->page)
        atomic_store(&operation->page->done, bytes);
}

void operation_moved(struct operation *operation, char *path)
{
    if (operation)
        operation->moved = path;
    else
        free(path);
}

/* Bytes moved by a helper without our library, from /proc. */
static uint64_t moved_by(pid_t helper, bool restore)
{
    char path[32], line[64];
    unsigned long long bytes = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%ld/io", (long)helper);
    file = fopen(path, "re");
    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, restore ? "rchar: %llu" : "wchar: %llu", &bytes) == 1)
            break;
    fclose(file);
    return bytes;
}

void operation_sample(const struct operation *operation,
                      struct operation_sample *sample)
{
    const struct handoff *page = operation->page;
    pid_t helper = atomic_load(&page->helper_pid);

    sample->domid = atomic_load(&page->domid);
    sample->phase = atomic_load(&page->phase);
    sample->total = atomic_load(&page->total);
    sample->done = atomic_load(&page->done);
    sample->written = atomic_load(&page->written);
    if (!sample->done && helper > 0)
        sample->done = moved_by(helper, operation->restore);
}

/* ---- its end ------------------------------------------------------------ */

void operation_cancel(struct operation *operation)
{
    struct process helper;

    if (!operation->page)
        return;
    /* In this order; the child uses the reverse, so one of them notices. */
    atomic_store(&operation->page->cancelled, 1);
    handoff_helper(operation->page, &helper);
    if (helper.pid > 0)
        process_signal(&helper, SIGTERM);
}

void operation_cancel_interruptible(void)
{
    struct operation *operation;
    int i;

    atomic_fetch_add(&readers, 1);
    for (i = 0; i < OPERATIONS; i++) {
        operation = atomic_load(&operations[i]);
        if (operation && operation->interruptible)
            operation_cancel(operation);
    }
    atomic_fetch_sub(&readers, 1);
}

bool operation_cancelled(const struct operation *operation)
{
    return operation && operation->page &&
           atomic_load(&operation->page->cancelled);
}

/* ---- in the child that becomes a helper --------------------------------- */

const struct stream_plan *operation_child(int fd, bool restore, uint32_t domid)
{
    struct operation *found = NULL, *operation;
    struct stat st;
    int i;

    if (fstat(fd, &st))
        return NULL;
    for (i = 0; i < OPERATIONS; i++) {
        operation = atomic_load(&operations[i]);
        if (!operation || operation->restore != restore ||
            !stat_same(&operation->st, &st))
            continue;
        /* libxl hands the helper a duplicate of fds 0 to 2. */
        if (operation->fd == fd || (!found && operation->fd <= 2))
            found = operation;
        if (operation->fd == fd)
            break;
    }
    if (!found)
        return NULL;
    /* SIGTERM must end this process before its pid is known. */
    if (found->interruptible)
        interrupt_child();
    if (found->page) {
        atomic_store(&found->page->domid, domid);
        handoff_enter(found->page);
        if (atomic_load(&found->page->cancelled))
            _exit(1);
    }
    found->plan.fd = fd;
    return found->planned ? &found->plan : NULL;
}
