/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "entries.h"

/* ---- libxenstore -------------------------------------------------------- */

static void *find(void *library, const char *name)
{
    return dlsym(library, name);
}

/* This program is linked with no library of Xen's, which change their names. */
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

/* False: there is none, which this does not report. */
static bool connect_quietly(struct store *store)
{
    void *library = load_libxenstore();

    if (!library || store_find(store, find, library))
        return false;
    store->handle = store->open(0);
    return store->handle;
}

void entries_sweep(void)
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

/* ---- entries ------------------------------------------------------------ */

struct reading {
    struct store *store;
    struct entries *entries;
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

static void read_entry(struct store *store, const char *name,
                       struct entry *entry)
{
    uint64_t domid;

    memset(entry, 0, sizeof(*entry));
    snprintf(entry->name, sizeof(entry->name), "%s", name);
    process_parse(name, &entry->owner);
    entry->has_domid = get_number(store, name, "domid", &domid);
    entry->domid = domid;
    if (entry->has_domid)
        entry->domain = domain_name(store, entry->domid);
    if (!entry->domain)
        entry->domain = get_text(store, name, "domain");
    entry->phase = get_text(store, name, "phase");
    entry->format = get_text(store, name, "format");
    entry->file = get_text(store, name, "file");
    entry->peer = get_text(store, name, "peer");
    entry->result = get_text(store, name, "result");
    get_number(store, name, "bytes", &entry->bytes);
    get_number(store, name, "total", &entry->total);
    get_number(store, name, "written", &entry->written);
    get_number(store, name, "rate", &entry->rate);
    get_number(store, name, "begun", &entry->begun);
    /* Last: without it, the entry is just being removed. */
    entry->operation = get_text(store, name, "operation");
}

static void entry_free(struct entry *entry)
{
    free(entry->domain);
    free(entry->operation);
    free(entry->phase);
    free(entry->format);
    free(entry->file);
    free(entry->peer);
    free(entry->result);
}

static void add(void *context, const char *name)
{
    struct reading *reading = context;
    struct entries *entries = reading->entries;
    struct entry *entry;

    entries->list = xrealloc(entries->list,
                             (entries->count + 1) * sizeof(*entries->list));
    entry = &entries->list[entries->count];
    read_entry(reading->store, name, entry);
    if (entry->operation)
        entries->count++;
    else
        entry_free(entry);
}

static void tell_stale(void *context, const char *name)
{
    struct reading *reading = context;
    struct entry entry;
    char title[128];

    read_entry(reading->store, name, &entry);
    entry_title(&entry, title, sizeof(title));
    if (entry.operation && !entry.result)
        report("%s: process %ld, which ran its %s, is gone: entry removed; "
               "is the domain as it should be? See xl list",
               title, (long)entry.owner.pid, entry.operation);
    entry_free(&entry);
}

static int by_age(const void *a, const void *b)
{
    const struct entry *one = a, *other = b;

    if (one->begun != other->begun)
        return one->begun < other->begun ? -1 : 1;
    return strcmp(one->name, other->name);
}

void entries_read(struct store *store, struct entries *entries)
{
    struct reading reading = { .store = store, .entries = entries };

    *entries = (struct entries){ 0 };
    entry_list(store, add, tell_stale, &reading);
    if (entries->count)
        qsort(entries->list, entries->count, sizeof(*entries->list), by_age);
}

void entries_free(struct entries *entries)
{
    size_t i;

    for (i = 0; i < entries->count; i++)
        entry_free(&entries->list[i]);
    free(entries->list);
    memset(entries, 0, sizeof(*entries));
}

void entry_figures(const struct entry *entry, struct figures *figures)
{
    figures->phase = entry->phase ? entry->phase : "?";
    figures->moving = strcmp(figures->phase, "memory") == 0;
    figures->done = entry->bytes;
    figures->total = entry->total;
    figures->rate = entry->rate;
}

void entry_title(const struct entry *entry, char *title, size_t size)
{
    if (entry->domain && entry->has_domid)
        snprintf(title, size, "%s (%u)", entry->domain, entry->domid);
    else if (entry->domain)
        snprintf(title, size, "%s", entry->domain);
    else if (entry->has_domid)
        snprintf(title, size, "domain %u", entry->domid);
    else
        snprintf(title, size, "a domain");
}
