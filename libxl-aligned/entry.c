/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The entry of an operation in xenstore: docs/spec/progress.md.  A thread of
 * its own writes it, so that nothing waits for xenstore.
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <xenstore.h>

#include "common/clock.h"
#include "common/thread.h"
#include "internal.h"

#define INTERVAL_NS 500000000
#define PATIENCE_NS 1000000000
#define TRIES       8 /* of a transaction */

struct entry {
    struct operation *operation;
    struct entry_text text;
    struct store store;
    char name[ENTRY_NAME];
    struct rate rate;
    struct operation_sample told;
    uint64_t told_rate;
    struct sigaction sigpipe;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    const char *result; /* set: it is over */
    const char *moved;  /* where the file is then; or NULL */
    bool done;          /* the thread has nothing left to do */
};

static void put(struct entry *entry, uint32_t transaction, const char *key,
                const char *value)
{
    char path[ENTRY_PATH];

    snprintf(path, sizeof(path), ENTRY_ROOT "/%s/%s", entry->name, key);
    entry->store.write(entry->store.handle, transaction, path, value,
                       strlen(value));
}

static void put_number(struct entry *entry, uint32_t transaction,
                       const char *key, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, value);
    put(entry, transaction, key, text);
}

/* ---- writing ------------------------------------------------------------ */

/* Nobody but dom0 reads what is below. */
static void make_root(struct store *store)
{
    struct xs_permissions nobody = { .id = 0, .perms = XS_PERM_NONE };
    unsigned int count;
    char **names = store->directory(store->handle, 0, ENTRY_ROOT, &count);

    if (!names && store->mkdir(store->handle, 0, ENTRY_ROOT))
        store->set_permissions(store->handle, 0, ENTRY_ROOT, &nobody, 1);
    free(names);
}

static void put_all(struct entry *entry, uint32_t transaction)
{
    const struct operation_sample *told = &entry->told;

    if (told->domid != DOMID_UNKNOWN)
        put_number(entry, transaction, "domid", told->domid);
    if (entry->text.domain)
        put(entry, transaction, "domain", entry->text.domain);
    put(entry, transaction, "phase", phase_name(told->phase));
    put_number(entry, transaction, "bytes", told->done);
    put_number(entry, transaction, "total", told->total);
    put_number(entry, transaction, "written", told->written);
    put_number(entry, transaction, "rate", entry->told_rate);
    put_number(entry, transaction, "begun", time(NULL));
    if (entry->text.format)
        put(entry, transaction, "format", entry->text.format);
    if (entry->text.file)
        put(entry, transaction, "file", entry->text.file);
    if (entry->text.peer)
        put(entry, transaction, "peer", entry->text.peer);
    put(entry, transaction, "operation", entry->text.kind);
}

static void create(struct entry *entry)
{
    uint32_t transaction;
    int i;

    make_root(&entry->store);
    operation_sample(entry->operation, &entry->told);
    for (i = 0; i < TRIES; i++) {
        transaction = entry->store.transaction_start(entry->store.handle);
        if (!transaction)
            return;
        put_all(entry, transaction);
        if (entry->store.transaction_end(entry->store.handle, transaction,
                                         false))
            return;
    }
}

static void update(struct entry *entry)
{
    struct operation_sample now, *told = &entry->told;
    uint64_t rate;

    operation_sample(entry->operation, &now);
    rate = rate_sample(&entry->rate, now.done);
    if (now.domid != told->domid)
        put_number(entry, 0, "domid", now.domid);
    if (now.phase != told->phase)
        put(entry, 0, "phase", phase_name(now.phase));
    if (now.total != told->total)
        put_number(entry, 0, "total", now.total);
    if (now.done != told->done)
        put_number(entry, 0, "bytes", now.done);
    if (now.written != told->written)
        put_number(entry, 0, "written", now.written);
    if (rate != entry->told_rate)
        put_number(entry, 0, "rate", rate);
    *told = now;
    entry->told_rate = rate;
}

static void look_for_cancel(struct entry *entry)
{
    char *cancel = entry_get(&entry->store, 0, entry->name, "cancel");

    if (!cancel)
        return;
    free(cancel);
    /* Again and again: the helper may not be running yet. */
    operation_cancel(entry->operation);
}

static void finish(struct entry *entry)
{
    char path[ENTRY_PATH];
    char *cancel = entry_get(&entry->store, 0, entry->name, "cancel");

    if (cancel) {
        if (entry->moved)
            put(entry, 0, "file", entry->moved);
        put(entry, 0, "phase", "ended");
        put(entry, 0, "result", entry->result);
        free(cancel);
        return;
    }
    snprintf(path, sizeof(path), ENTRY_ROOT "/%s", entry->name);
    entry->store.rm(entry->store.handle, 0, path);
}

/* ---- the thread --------------------------------------------------------- */

/* False: the operation is over. */
static bool wait_for_tick(struct entry *entry)
{
    struct timespec until = monotonic_after(INTERVAL_NS);
    bool over;
    int r = 0;

    pthread_mutex_lock(&entry->lock);
    while (!entry->result && !r)
        r = pthread_cond_timedwait(&entry->changed, &entry->lock, &until);
    over = entry->result;
    pthread_mutex_unlock(&entry->lock);
    return !over;
}

static void *run(void *context)
{
    struct entry *entry = context;

    create(entry);
    /* What others left when they were killed. */
    entry_list(&entry->store, NULL, NULL, NULL);
    do {
        update(entry);
        look_for_cancel(entry);
    } while (wait_for_tick(entry));
    finish(entry);

    pthread_mutex_lock(&entry->lock);
    entry->done = true;
    pthread_cond_broadcast(&entry->changed);
    pthread_mutex_unlock(&entry->lock);
    return NULL;
}

static int start_thread(struct entry *entry)
{
    pthread_mutex_init(&entry->lock, NULL);
    monotonic_cond_init(&entry->changed);
    return thread_start(&entry->thread, run, entry);
}

/* ---- its life ----------------------------------------------------------- */

static void *find(void *context, const char *name)
{
    (void)context;
    return dlsym(RTLD_DEFAULT, name);
}

static int name_entry(struct entry *entry)
{
    static atomic_uint number;
    struct process self;

    if (process_of(getpid(), &self))
        return -1;
    snprintf(entry->name, sizeof(entry->name), "%ld-%" PRIu64 "-%u",
             (long)self.pid, self.start, atomic_fetch_add(&number, 1) + 1);
    return 0;
}

struct entry *entry_begin(struct operation *operation,
                          const struct entry_text *text)
{
    struct entry *entry = calloc(1, sizeof(*entry));

    if (!entry)
        return NULL;
    entry->operation = operation;
    entry->text = *text;
    if (store_find(&entry->store, find, NULL) || name_entry(entry))
        goto failed;
    entry->store.handle = entry->store.open(0);
    if (!entry->store.handle)
        goto failed;
    rate_begin(&entry->rate);
    sigaction(SIGPIPE, NULL, &entry->sigpipe);
    if (!start_thread(entry))
        return entry;
    entry->store.close(entry->store.handle);

failed:
    free(entry);
    return NULL;
}

/*
 * libxenstore ignores SIGPIPE for the length of each request.  Two threads
 * that do so at once may leave it ignored.
 */
static void restore_sigpipe(const struct sigaction *before)
{
    struct sigaction now;

    if (before->sa_handler == SIG_DFL && !sigaction(SIGPIPE, NULL, &now) &&
        now.sa_handler == SIG_IGN)
        sigaction(SIGPIPE, before, NULL);
}

bool entry_end(struct entry *entry, const char *result, const char *file)
{
    struct timespec until = monotonic_after(PATIENCE_NS);
    bool done;
    int r = 0;

    if (!entry)
        return true;
    pthread_mutex_lock(&entry->lock);
    entry->moved = file;
    entry->result = result;
    pthread_cond_broadcast(&entry->changed);
    while (!entry->done && !r)
        r = pthread_cond_timedwait(&entry->changed, &entry->lock, &until);
    done = entry->done;
    pthread_mutex_unlock(&entry->lock);
    if (!done) {
        pthread_detach(entry->thread);
        return false;
    }
    pthread_join(entry->thread, NULL);
    entry->store.close(entry->store.handle);
    restore_sigpipe(&entry->sigpipe);
    pthread_cond_destroy(&entry->changed);
    pthread_mutex_destroy(&entry->lock);
    free(entry);
    return true;
}
