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
#include "operation/xenstore.h"
#include "publish.h"

#define INTERVAL_NS 500000000
#define PATIENCE_NS 1000000000
#define TRIES       8 /* of a transaction */

struct publisher {
    struct operation *operation;
    struct publish_text text;
    struct store store;
    char name[ENTRY_NAME];
    struct rate rate;
    struct operation_sample last_written;
    uint64_t last_rate;
    struct sigaction sigpipe;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    const char *result; /* set: it is over */
    const char *moved;  /* where the file is then; or NULL */
    bool done;          /* the thread has nothing left to do */
};

static void put(struct publisher *publisher, uint32_t transaction,
                const char *key, const char *value)
{
    char path[ENTRY_PATH];

    snprintf(path, sizeof(path), ENTRY_ROOT "/%s/%s", publisher->name, key);
    publisher->store.write(publisher->store.handle, transaction, path, value,
                           strlen(value));
}

static void put_number(struct publisher *publisher, uint32_t transaction,
                       const char *key, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, value);
    put(publisher, transaction, key, text);
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

static void put_all(struct publisher *publisher, uint32_t transaction)
{
    const struct operation_sample *last_written = &publisher->last_written;

    if (last_written->domid != DOMID_UNKNOWN)
        put_number(publisher, transaction, "domid", last_written->domid);
    if (publisher->text.domain)
        put(publisher, transaction, "domain", publisher->text.domain);
    put(publisher, transaction, "phase", phase_name(last_written->phase));
    put_number(publisher, transaction, "bytes", last_written->done);
    put_number(publisher, transaction, "total", last_written->total);
    put_number(publisher, transaction, "written", last_written->written);
    put_number(publisher, transaction, "rate", publisher->last_rate);
    put_number(publisher, transaction, "begun", time(NULL));
    if (publisher->text.format)
        put(publisher, transaction, "format", publisher->text.format);
    if (publisher->text.file)
        put(publisher, transaction, "file", publisher->text.file);
    if (publisher->text.peer)
        put(publisher, transaction, "peer", publisher->text.peer);
    put(publisher, transaction, "operation", publisher->text.kind);
}

static void create(struct publisher *publisher)
{
    uint32_t transaction;
    int i;

    make_root(&publisher->store);
    operation_sample(publisher->operation, &publisher->last_written);
    for (i = 0; i < TRIES; i++) {
        transaction = publisher->store.transaction_start(
            publisher->store.handle);
        if (!transaction)
            return;
        put_all(publisher, transaction);
        if (publisher->store.transaction_end(publisher->store.handle,
                                             transaction, false))
            return;
    }
}

static void update(struct publisher *publisher)
{
    struct operation_sample now, *last_written = &publisher->last_written;
    uint64_t rate;

    operation_sample(publisher->operation, &now);
    rate = rate_sample(&publisher->rate, now.done);
    if (now.domid != last_written->domid)
        put_number(publisher, 0, "domid", now.domid);
    if (now.phase != last_written->phase)
        put(publisher, 0, "phase", phase_name(now.phase));
    if (now.total != last_written->total)
        put_number(publisher, 0, "total", now.total);
    if (now.done != last_written->done)
        put_number(publisher, 0, "bytes", now.done);
    if (now.written != last_written->written)
        put_number(publisher, 0, "written", now.written);
    if (rate != publisher->last_rate)
        put_number(publisher, 0, "rate", rate);
    *last_written = now;
    publisher->last_rate = rate;
}

static void look_for_cancel(struct publisher *publisher)
{
    char *cancel = entry_get(&publisher->store, 0, publisher->name, "cancel");

    if (!cancel)
        return;
    free(cancel);
    /* Again and again: the helper may not be running yet. */
    operation_cancel(publisher->operation);
}

static void finish(struct publisher *publisher)
{
    char path[ENTRY_PATH];
    char *cancel = entry_get(&publisher->store, 0, publisher->name, "cancel");

    if (cancel) {
        if (publisher->moved)
            put(publisher, 0, "file", publisher->moved);
        put(publisher, 0, "phase", "ended");
        put(publisher, 0, "result", publisher->result);
        free(cancel);
        return;
    }
    snprintf(path, sizeof(path), ENTRY_ROOT "/%s", publisher->name);
    publisher->store.rm(publisher->store.handle, 0, path);
}

/* ---- the thread --------------------------------------------------------- */

/* False: the operation is over. */
static bool wait_for_tick(struct publisher *publisher)
{
    struct timespec until = monotonic_after(INTERVAL_NS);
    bool over;
    int r = 0;

    pthread_mutex_lock(&publisher->lock);
    while (!publisher->result && !r)
        r = pthread_cond_timedwait(&publisher->changed, &publisher->lock,
                                   &until);
    over = publisher->result;
    pthread_mutex_unlock(&publisher->lock);
    return !over;
}

static void *run(void *context)
{
    struct publisher *publisher = context;

    create(publisher);
    /* What others left when they were killed. */
    entry_list(&publisher->store, NULL, NULL, NULL);
    do {
        update(publisher);
        look_for_cancel(publisher);
    } while (wait_for_tick(publisher));
    finish(publisher);

    pthread_mutex_lock(&publisher->lock);
    publisher->done = true;
    pthread_cond_broadcast(&publisher->changed);
    pthread_mutex_unlock(&publisher->lock);
    return NULL;
}

static int start_thread(struct publisher *publisher)
{
    pthread_mutex_init(&publisher->lock, NULL);
    monotonic_cond_init(&publisher->changed);
    return thread_start(&publisher->thread, run, publisher);
}

/* ---- its life ----------------------------------------------------------- */

static void *find(void *context, const char *name)
{
    (void)context;
    return dlsym(RTLD_DEFAULT, name);
}

static int name_entry(struct publisher *publisher)
{
    static atomic_uint number;
    struct process self;

    if (process_of(getpid(), &self))
        return -1;
    snprintf(publisher->name, sizeof(publisher->name), "%ld-%" PRIu64 "-%u",
             (long)self.pid, self.start, atomic_fetch_add(&number, 1) + 1);
    return 0;
}

struct publisher *publish_begin(struct operation *operation,
                                const struct publish_text *text)
{
    struct publisher *publisher = calloc(1, sizeof(*publisher));

    if (!publisher)
        return NULL;
    publisher->operation = operation;
    publisher->text = *text;
    if (store_find(&publisher->store, find, NULL) || name_entry(publisher))
        goto failed;
    publisher->store.handle = publisher->store.open(0);
    if (!publisher->store.handle)
        goto failed;
    rate_begin(&publisher->rate);
    sigaction(SIGPIPE, NULL, &publisher->sigpipe);
    if (!start_thread(publisher))
        return publisher;
    publisher->store.close(publisher->store.handle);

failed:
    free(publisher);
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

bool publish_end(struct publisher *publisher, const char *result,
                 const char *file)
{
    struct timespec until = monotonic_after(PATIENCE_NS);
    bool done;
    int r = 0;

    if (!publisher)
        return true;
    pthread_mutex_lock(&publisher->lock);
    publisher->moved = file;
    publisher->result = result;
    pthread_cond_broadcast(&publisher->changed);
    while (!publisher->done && !r)
        r = pthread_cond_timedwait(&publisher->changed, &publisher->lock,
                                   &until);
    done = publisher->done;
    pthread_mutex_unlock(&publisher->lock);
    if (!done) {
        pthread_detach(publisher->thread);
        return false;
    }
    pthread_join(publisher->thread, NULL);
    publisher->store.close(publisher->store.handle);
    restore_sigpipe(&publisher->sigpipe);
    pthread_cond_destroy(&publisher->changed);
    pthread_mutex_destroy(&publisher->lock);
    free(publisher);
    return true;
}
