/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "operations.h"

/* ---- libxenstore -------------------------------------------------------- */

static void *find(void *library, const char *name)
{
    return dlsym(library, name);
}

/*
 * Loaded at run time: this program works with any release of Xen's libraries.
 */
static void *load_libxenstore(void)
{
    static const char *const names[] = {
        "libxenstore.so.4",
        "libxenstore.so.3.0",
    };
    void *library = NULL;
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]) && !library; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    return library;
}

/* False if there is none; nothing is reported. */
static bool connect_quietly(struct store *store)
{
    void *library = load_libxenstore();

    if (!library || store_find(store, find, library))
        return false;
    store->handle = store->open(0);
    return store->handle;
}

void operations_sweep(void)
{
    struct store store;

    if (!connect_quietly(&store))
        return;
    entry_list(&store, NULL, NULL, NULL);
    store.close(store.handle);
}

int store_connect(struct store *store)
{
    void *library = load_libxenstore();
    const char *missing;

    if (!library) {
        report("libxenstore.so.4 cannot be loaded; are Xen's tools "
               "installed?");
        return -1;
    }
    missing = store_find(store, find, library);
    if (missing) {
        report("libxenstore has no %s", missing);
        return -1;
    }
    store->handle = store->open(0);
    if (!store->handle) {
        report("xenstore cannot be reached: %s; is this dom0, and is "
               "xenstored running?",
               strerror(errno));
        return -1;
    }
    return 0;
}

/* ---- operations --------------------------------------------------------- */

struct reading {
    struct store *store;
    struct operations *operations;
};

static char *get_text(struct store *store, const char *name, const char *key)
{
    return entry_get(store, 0, name, key);
}

static bool get_number(struct store *store, const char *name, const char *key,
                       uint64_t *number)
{
    char *text = entry_get(store, 0, name, key), *end = text;

    *number = text ? strtoull(text, &end, 10) : 0;
    if (text && (end == text || *end || *text == '-'))
        *number = 0, end = text;
    free(text);
    return end != text;
}

static char *domain_name(struct store *store, uint32_t domid)
{
    char path[64];

    snprintf(path, sizeof(path), "/local/domain/%u/name", domid);
    return store_get(store, 0, path);
}

char *domain_name_of(uint32_t domid)
{
    struct store store;
    char *name;

    if (!connect_quietly(&store))
        return NULL;
    name = domain_name(&store, domid);
    store.close(store.handle);
    return name;
}

static void read_operation(struct store *store, const char *name,
                           struct operation *operation)
{
    uint64_t domid;

    memset(operation, 0, sizeof(*operation));
    snprintf(operation->name, sizeof(operation->name), "%s", name);
    process_parse(name, &operation->owner);
    operation->has_domid = get_number(store, name, "domid", &domid);
    operation->domid = domid;
    if (operation->has_domid)
        operation->domain = domain_name(store, operation->domid);
    if (!operation->domain)
        operation->domain = get_text(store, name, "domain");
    operation->phase = get_text(store, name, "phase");
    operation->format = get_text(store, name, "format");
    operation->file = get_text(store, name, "file");
    operation->peer = get_text(store, name, "peer");
    operation->result = get_text(store, name, "result");
    get_number(store, name, "bytes", &operation->bytes);
    get_number(store, name, "total", &operation->total);
    get_number(store, name, "written", &operation->written);
    get_number(store, name, "rate", &operation->rate);
    get_number(store, name, "begun", &operation->begun);
    /* Last: an entry without it is being removed. */
    operation->kind = get_text(store, name, "operation");
}

static void operation_free(struct operation *operation)
{
    free(operation->domain);
    free(operation->kind);
    free(operation->phase);
    free(operation->format);
    free(operation->file);
    free(operation->peer);
    free(operation->result);
}

static void add(void *context, const char *name)
{
    struct reading *reading = context;
    struct operations *operations = reading->operations;
    struct operation *operation;

    operations->list = xrealloc(operations->list,
                                (operations->count + 1) *
                                    sizeof(*operations->list));
    operation = &operations->list[operations->count];
    read_operation(reading->store, name, operation);
    if (operation->kind)
        operations->count++;
    else
        operation_free(operation);
}

static void tell_stale(void *context, const char *name)
{
    struct reading *reading = context;
    struct operation operation;
    char title[128];

    read_operation(reading->store, name, &operation);
    operation_title(&operation, title, sizeof(title));
    if (operation.kind && !operation.result)
        report("%s: process %ld, which ran its %s, is gone: entry removed; "
               "check the domain with xl list",
               title, (long)operation.owner.pid, operation.kind);
    operation_free(&operation);
}

static int by_age(const void *a, const void *b)
{
    const struct operation *one = a, *other = b;

    if (one->begun != other->begun)
        return one->begun < other->begun ? -1 : 1;
    return strcmp(one->name, other->name);
}

void operations_read(struct store *store, struct operations *operations)
{
    struct reading reading = { .store = store, .operations = operations };

    *operations = (struct operations){ 0 };
    entry_list(store, add, tell_stale, &reading);
    if (operations->count)
        qsort(operations->list, operations->count, sizeof(*operations->list),
              by_age);
}

void operations_free(struct operations *operations)
{
    size_t i;

    for (i = 0; i < operations->count; i++)
        operation_free(&operations->list[i]);
    free(operations->list);
    memset(operations, 0, sizeof(*operations));
}

void operation_figures(const struct operation *operation,
                       struct figures *figures)
{
    figures->phase = operation->phase ? operation->phase : "?";
    figures->moving = strcmp(figures->phase, "memory") == 0;
    figures->done = operation->bytes;
    figures->total = operation->total;
    figures->rate = operation->rate;
}

void operation_title(const struct operation *operation, char *title,
                     size_t size)
{
    if (operation->domain && operation->has_domid)
        snprintf(title, size, "%s (%u)", operation->domain, operation->domid);
    else if (operation->domain)
        snprintf(title, size, "%s", operation->domain);
    else if (operation->has_domid)
        snprintf(title, size, "domain %u", operation->domid);
    else
        snprintf(title, size, "a domain");
}
