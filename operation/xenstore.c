/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What owners and readers of docs/spec/progress.md have in common. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/clock.h"
#include "handoff.h"
#include "xenstore.h"

/* How much an older rate counts after a second. */
#define OLDER          0.7
#define SAMPLE_SECONDS 0.2

/* ---- processes ---------------------------------------------------------- */

/* State and start of a process: fields 3 and 22 of its stat. */
static int read_stat(pid_t pid, char *state, uint64_t *start)
{
    char path[32], line[1024], *field;
    ssize_t length;
    int fd, i;

    snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    length = read(fd, line, sizeof(line) - 1);
    close(fd);
    if (length <= 0)
        return -1;
    line[length] = '\0';
    /* "pid (name) state ...": the name may hold parentheses itself. */
    field = strrchr(line, ')');
    if (!field || strlen(field) < 3)
        return -1;
    field += 2;
    *state = *field;
    for (i = 3; i < 22; i++) {
        field = strchr(field, ' ');
        if (!field)
            return -1;
        field++;
    }
    *start = strtoull(field, NULL, 10);
    return 0;
}

int process_of(pid_t pid, struct process *process)
{
    char state;

    process->pid = pid;
    return read_stat(pid, &state, &process->start);
}

int process_parse(const char *text, struct process *process)
{
    unsigned long pid, start;
    char *end;

    if (*text < '0' || *text > '9')
        return -1;
    pid = strtoul(text, &end, 10);
    if (*end != '-' || end[1] < '0' || end[1] > '9' || !pid || pid > INT32_MAX)
        return -1;
    start = strtoul(end + 1, &end, 10);
    if (*end && *end != '-')
        return -1;
    process->pid = pid;
    process->start = start;
    return 0;
}

bool process_lives(const struct process *process)
{
    uint64_t start;
    char state;

    return !read_stat(process->pid, &state, &start) &&
           start == process->start && state != 'Z' && state != 'X';
}

int process_signal(const struct process *process, int signum)
{
    /* The calls are older than glibc's names for them. */
    int pidfd = syscall(SYS_pidfd_open, process->pid, 0), r = -1;
    bool unknown = pidfd < 0 && errno == ENOSYS;

    /* What the pidfd stands for cannot change after this check. */
    if (!process_lives(process))
        errno = ESRCH;
    else if (pidfd >= 0)
        r = syscall(SYS_pidfd_send_signal, pidfd, signum, NULL, 0);
    else if (unknown)
        r = kill(process->pid, signum);
    if (pidfd >= 0)
        close(pidfd);
    return r;
}

/* ---- the store ---------------------------------------------------------- */

const char *store_find(struct store *store,
                       void *(*find)(void *context, const char *name),
                       void *context)
{
    const struct {
        const char *name;
        void **symbol;
    } table[] = {
        { "xs_open", (void **)&store->open },
        { "xs_close", (void **)&store->close },
        { "xs_directory", (void **)&store->directory },
        { "xs_read", (void **)&store->read },
        { "xs_write", (void **)&store->write },
        { "xs_mkdir", (void **)&store->mkdir },
        { "xs_rm", (void **)&store->rm },
        { "xs_set_permissions", (void **)&store->set_permissions },
        { "xs_transaction_start", (void **)&store->transaction_start },
        { "xs_transaction_end", (void **)&store->transaction_end },
    };
    size_t i;

    memset(store, 0, sizeof(*store));
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        *table[i].symbol = find(context, table[i].name);
        if (!*table[i].symbol)
            return table[i].name;
    }
    return NULL;
}

char *store_get(struct store *store, uint32_t transaction, const char *path)
{
    unsigned int length;

    /* With a NUL behind it. */
    /* cppcheck-suppress returnDanglingLifetime ; it is not the length */
    return store->read(store->handle, transaction, path, &length);
}

char *entry_get(struct store *store, uint32_t transaction, const char *name,
                const char *key)
{
    char path[ENTRY_PATH];

    snprintf(path, sizeof(path), ENTRY_ROOT "/%s/%s", name, key);
    return store_get(store, transaction, path);
}

bool entry_stale(struct store *store, const char *name)
{
    struct process process;
    char *result, *cancel;
    bool stale;

    if (process_parse(name, &process))
        return false; /* whatever it is, it is not ours */
    result = entry_get(store, 0, name, "result");
    if (!result)
        return !process_lives(&process);
    cancel = entry_get(store, 0, name, "cancel");
    stale = !cancel || process_parse(cancel, &process) ||
            !process_lives(&process);
    free(cancel);
    free(result);
    return stale;
}

void entry_list(struct store *store,
                void (*each)(void *context, const char *name),
                void (*stale)(void *context, const char *name), void *context)
{
    char path[ENTRY_PATH], **names;
    unsigned int count = 0, i;

    names = store->directory(store->handle, 0, ENTRY_ROOT, &count);
    for (i = 0; names && i < count; i++) {
        if (strlen(names[i]) >= ENTRY_NAME)
            continue;
        if (!entry_stale(store, names[i])) {
            if (each)
                each(context, names[i]);
            continue;
        }
        if (stale)
            stale(context, names[i]);
        snprintf(path, sizeof(path), ENTRY_ROOT "/%s", names[i]);
        store->rm(store->handle, 0, path);
    }
    free(names);
}

/* ---- figures ------------------------------------------------------------ */

const char *phase_name(uint32_t phase)
{
    static const char *const names[] = {
        [PROGRESS_START] = "start",
        [PROGRESS_MEMORY] = "memory",
        [PROGRESS_COMMIT] = "commit",
        [PROGRESS_DEVICES] = "devices",
    };

    return phase < sizeof(names) / sizeof(names[0]) ? names[phase] : "?";
}

void rate_begin(struct rate *rate)
{
    *rate = (struct rate){ .at = monotonic_seconds() };
}

double rate_sample(struct rate *rate, uint64_t done)
{
    double time = monotonic_seconds(), seconds = time - rate->at, fresh;

    if (seconds < SAMPLE_SECONDS)
        return rate->rate;
    fresh = done > rate->done ? (double)(done - rate->done) / seconds : 0;
    /* The time before the first bytes moved says nothing about their rate. */
    if (!rate->done)
        rate->rate = 0;
    else if (!rate->rate)
        rate->rate = fresh;
    else
        rate->rate = OLDER * rate->rate + (1 - OLDER) * fresh;
    rate->at = time;
    rate->done = done;
    return rate->rate;
}
