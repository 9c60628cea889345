/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cancels the running operation of a domain, and waits until it has ended and
 * the domain is in the expected state.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "operations.h"
#include "plugin.h"

#define TIMEOUT_DEFAULT 60
#define TIMEOUT_MAX     86400
#define INTERVAL_NS     100000000
#define TRIES           32 /* per transaction */

struct cancel {
    struct store store;
    struct operation *operation;
    char title[128];
    time_t deadline;
    char *result, *file; /* at the end */
    bool ended;          /* before it was cancelled */
};

/* False once the time is up. */
static bool wait_a_little(const struct cancel *cancel)
{
    const struct timespec interval = { 0, INTERVAL_NS };
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec >= cancel->deadline)
        return false;
    nanosleep(&interval, NULL);
    return true;
}

/* ---- what becomes of the domain ----------------------------------------- */

/* The second to last word of the last line of `xl list DOMID`. */
static bool list_says(char *text, bool *suspended)
{
    char *state = NULL, *last = NULL, *word, *next, *line;

    line = text + strlen(text);
    while (line > text && line[-1] == '\n')
        *--line = '\0';
    line = strrchr(text, '\n');
    for (word = strtok_r(line ? line : text, " \n", &next); word;
         word = strtok_r(NULL, " \n", &next)) {
        state = last;
        last = word;
    }
    if (!state || strlen(state) != 6)
        return false;
    *suspended = state[3] == 's';
    return true;
}

static bool ask_xl(uint32_t domid, bool *suspended)
{
    char number[16], text[4096];
    size_t length = 0;
    int fds[2], status;
    pid_t pid = -1;
    struct xl xl;
    ssize_t r;

    if (!xl_program() || pipe2(fds, O_CLOEXEC) < 0)
        return false;
    xl_init(&xl, &xl_query, "list");
    snprintf(number, sizeof(number), "%u", domid);
    arguments_add(&xl.arguments, number);
    xl.program = xl_program();
    xl.fds[STDOUT_FILENO] = fds[1];
    r = xl_start(&xl, &pid);
    if (r) {
        report("running %s: %s", xl.program, strerror(r));
        pid = -1;
    }
    xl_free(&xl);
    close(fds[1]);
    while (pid > 0 && length < sizeof(text) - 1 &&
           (r = read(fds[0], text + length, sizeof(text) - 1 - length)) > 0)
        length += r;
    close(fds[0]);
    text[length] = '\0';
    return pid > 0 && waitpid(pid, &status, 0) == pid && !status &&
           list_says(text, suspended);
}

/*
 * The entry may say that it has ended before the toolstack resumes the domain.
 */
static int until_it_runs(struct cancel *cancel, const char **outcome)
{
    bool suspended = true;

    do {
        if (!ask_xl(cancel->operation->domid, &suspended)) {
            *outcome = "but xl list does not show the domain's state";
            return STATUS_FAILED;
        }
        if (!suspended) {
            *outcome = "the domain keeps running";
            return STATUS_OK;
        }
    } while (wait_a_little(cancel));
    *outcome = "but the domain is still suspended; check the output of the "
               "program that saved it";
    return STATUS_FAILED;
}

/* The plugin puts back a file that was removed during its restore. */
static int look_at_file(const struct cancel *cancel, const char **outcome)
{
    static const char deleted[] = " (deleted)";
    const char *before = cancel->operation->file, *after = cancel->file;
    size_t length = after ? strlen(after) : 0;

    *outcome = "no domain is left";
    if (!before || !after)
        return STATUS_OK;
    if (strcmp(before, after) == 0) {
        *outcome = "no domain is left, and the file is unchanged";
        if (length < strlen(deleted) ||
            strcmp(after + length - strlen(deleted), deleted) != 0)
            return STATUS_OK;
        *outcome = "but its file was removed and has not been put back; "
                   "check the output of the program that restored it";
        return STATUS_FAILED;
    }
    if (strncmp(before, after, length) == 0 &&
        strcmp(before + length, deleted) == 0)
        *outcome = "no domain is left, and the file, which had been "
                   "removed, is back";
    else
        *outcome = "no domain is left, and the file, which had been "
                   "removed, is back under another name; check the output "
                   "of the program that restored it";
    return STATUS_OK;
}

static int until_it_is_gone(struct cancel *cancel, const char **outcome)
{
    char path[64], *there;

    snprintf(path, sizeof(path), "/local/domain/%u/domid",
             cancel->operation->domid);
    do {
        there = cancel->operation->has_domid
                    ? store_get(&cancel->store, 0, path)
                    : NULL;
        free(there);
        if (!there)
            return look_at_file(cancel, outcome);
    } while (wait_a_little(cancel));
    *outcome = "but the partial domain still exists";
    return STATUS_FAILED;
}

static int no_file(struct cancel *cancel, const char **outcome)
{
    (void)cancel;
    *outcome = "no file is left; the domain was not affected";
    return STATUS_OK;
}

static const struct kind {
    const char *operation;
    int (*settle)(struct cancel *cancel, const char **outcome);
} kinds[] = {
    { "save", until_it_runs },       { "migrate", until_it_runs },
    { "restore", until_it_is_gone }, { "receive", until_it_is_gone },
    { "dump-core", no_file },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static const struct kind *kind_of(const char *operation)
{
    size_t i;

    for (i = 0; i < KINDS; i++)
        if (strcmp(kinds[i].operation, operation) == 0)
            return &kinds[i];
    return NULL;
}

/* ---- asking ------------------------------------------------------------- */

static void path_of(const struct cancel *cancel, const char *key, char *path,
                    size_t size)
{
    snprintf(path, size, ENTRY_ROOT "/%s%s%s", cancel->operation->name,
             *key ? "/" : "", key);
}

/*
 * 1: already being cancelled; 0: request written, or too late; -1: no answer.
 */
static int write_request(struct cancel *cancel, const char *self)
{
    struct store *store = &cancel->store;
    uint32_t transaction = store->transaction_start(store->handle);
    char path[ENTRY_PATH], *operation, *other;
    struct process process;
    bool write = false, taken;

    if (!transaction)
        return -1;
    operation = entry_get(store, transaction, cancel->operation->name,
                          "operation");
    other = entry_get(store, transaction, cancel->operation->name, "cancel");
    taken = other && !process_parse(other, &process) &&
            process_lives(&process);
    if (operation && !taken) {
        path_of(cancel, "cancel", path, sizeof(path));
        write = store->write(store->handle, transaction, path, self,
                             strlen(self));
    }
    free(operation);
    free(other);
    if (!store->transaction_end(store->handle, transaction, !write))
        return -1;
    return taken;
}

static int ask(struct cancel *cancel)
{
    struct process self;
    char text[64];
    int tries, r = -1;

    if (process_of(getpid(), &self) < 0) {
        report("cannot read the start time of this process in /proc");
        return -1;
    }
    snprintf(text, sizeof(text), "%ld-%" PRIu64, (long)self.pid, self.start);
    errno = EAGAIN;
    for (tries = 0; tries < TRIES && r < 0 && errno == EAGAIN; tries++)
        r = write_request(cancel, text);
    if (r < 0)
        report("%s: cannot write the request to xenstore: %s", cancel->title,
               strerror(errno));
    if (r > 0)
        report("%s: its %s is already being cancelled", cancel->title,
               cancel->operation->kind);
    return r ? -1 : 0;
}

/* ---- waiting ------------------------------------------------------------ */

/* The result; -1 if it did not end in time. */
static int wait_for_result(struct cancel *cancel)
{
    struct store *store = &cancel->store;
    const char *name = cancel->operation->name;
    char *operation;
    bool lives;

    do {
        /* In this order: the owner writes the result last. */
        lives = process_lives(&cancel->operation->owner);
        cancel->result = entry_get(store, 0, name, "result");
        operation = entry_get(store, 0, name, "operation");
        free(operation);
        cancel->ended = !operation;
        if (cancel->result || !operation || !lives)
            return 0;
    } while (wait_a_little(cancel));
    return -1;
}

/* By now a restore may have a domain, and its file another name. */
static void learn_more(struct cancel *cancel)
{
    char *domid = entry_get(&cancel->store, 0, cancel->operation->name,
                            "domid");

    if (domid) {
        cancel->operation->domid = strtoul(domid, NULL, 10);
        cancel->operation->has_domid = true;
    }
    free(domid);
    cancel->file = entry_get(&cancel->store, 0, cancel->operation->name,
                             "file");
}

/* xl resumes the domain and exits; a daemon keeps running. */
static void wait_for_xl(struct cancel *cancel)
{
    char path[64], comm[16] = "";
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%ld/comm",
             (long)cancel->operation->owner.pid);
    file = fopen(path, "re");
    if (file) {
        if (!fgets(comm, sizeof(comm), file))
            comm[0] = '\0';
        fclose(file);
    }
    if (strcmp(comm, "xl\n") != 0)
        return;
    while (process_lives(&cancel->operation->owner) && wait_a_little(cancel))
        ;
}

static int conclude(struct cancel *cancel)
{
    const struct operation *operation = cancel->operation;
    const struct kind *kind = kind_of(operation->kind);
    char path[ENTRY_PATH];
    const char *outcome = "";
    int status = STATUS_OK;

    learn_more(cancel);
    path_of(cancel, "", path, sizeof(path));
    cancel->store.rm(cancel->store.handle, 0, path);
    if (cancel->ended) {
        report("%s: too late: its %s has ended", cancel->title,
               operation->kind);
        return STATUS_FAILED;
    }
    if (!cancel->result) {
        report("%s: process %ld, which ran its %s, is gone; check the "
               "domain with xl list",
               cancel->title, (long)operation->owner.pid, operation->kind);
        return STATUS_FAILED;
    }
    if (strcmp(cancel->result, "cancelled") != 0) {
        report("%s: too late: its %s %s", cancel->title, operation->kind,
               strcmp(cancel->result, "complete") == 0 ? "is already "
                                                         "complete"
                                                       : "has already failed");
        return STATUS_FAILED;
    }
    wait_for_xl(cancel);
    if (kind)
        status = kind->settle(cancel, &outcome);
    if (status == STATUS_OK)
        say("%s: %s cancelled: %s", cancel->title, operation->kind, outcome);
    else
        report("%s: %s cancelled, %s", cancel->title, operation->kind,
               outcome);
    return status;
}

static int cancel_operation(struct cancel *cancel, unsigned seconds)
{
    struct timespec now;
    int status;

    operation_title(cancel->operation, cancel->title, sizeof(cancel->title));
    clock_gettime(CLOCK_MONOTONIC, &now);
    cancel->deadline = now.tv_sec + seconds;
    if (ask(cancel) < 0)
        return STATUS_FAILED;
    if (wait_for_result(cancel) < 0) {
        report("%s: its %s was cancelled, but has not ended in %u s",
               cancel->title, cancel->operation->kind, seconds);
        return STATUS_FAILED;
    }
    status = conclude(cancel);
    free(cancel->result);
    free(cancel->file);
    return status;
}

/* ---- the command -------------------------------------------------------- */

static bool matches(const struct operation *operation, const char *domain,
                    const char *kind)
{
    char number[16];

    if (operation->result || (kind && strcmp(operation->kind, kind)))
        return false;
    snprintf(number, sizeof(number), "%u", operation->domid);
    return (operation->domain && strcmp(operation->domain, domain) == 0) ||
           (operation->has_domid && strcmp(number, domain) == 0);
}

/* NULL after a report. */
static struct operation *choose(const struct operations *operations,
                                const char *domain, const char *kind)
{
    struct operation *found = NULL;
    size_t i;

    for (i = 0; i < operations->count; i++) {
        if (!matches(&operations->list[i], domain, kind))
            continue;
        if (found) {
            report("%s: a %s and a %s are running; name one: xl-aligned "
                   "cancel %s OPERATION",
                   domain, found->kind, operations->list[i].kind, domain);
            return NULL;
        }
        found = &operations->list[i];
    }
    if (!found)
        report("%s: no %s of this domain is running; see xl-aligned status",
               domain, kind ? kind : "operation");
    return found;
}

enum { OPTION_TIMEOUT = OPTION_LONG };

static int cancel_run(const struct command *self, int argc, char **argv)
{
    unsigned long seconds = TIMEOUT_DEFAULT;
    struct cancel cancel = { 0 };
    const char *kind;
    struct operations operations;
    int opt, status;
    char *end;

    while ((opt = command_option(self, argc, argv, &status)) != -1) {
        if (opt == OPTION_DONE)
            return status;
        seconds = strtoul(optarg, &end, 10);
        if (*optarg < '0' || *optarg > '9' || *end || seconds > TIMEOUT_MAX)
            return command_misuse(self,
                                  "--timeout=%s: expected a number of "
                                  "seconds up to %d",
                                  optarg, TIMEOUT_MAX);
    }
    if (argc - optind < 1 || argc - optind > 2)
        return command_misuse(self, "expected DOMAIN [OPERATION]");
    kind = argv[optind + 1];
    if (kind && !kind_of(kind))
        return command_misuse(self,
                              "%s: the operation must be one of save "
                              "restore dump-core migrate receive",
                              kind);
    if (store_connect(&cancel.store) < 0)
        return STATUS_FAILED;
    operations_read(&cancel.store, &operations);
    cancel.operation = choose(&operations, argv[optind], kind);
    status = cancel.operation ? cancel_operation(&cancel, seconds)
                              : STATUS_FAILED;
    operations_free(&operations);
    cancel.store.close(cancel.store.handle);
    return status;
}

/* clang-format off */
const struct command command_cancel = {
    .name = "cancel",
    .arguments = "[OPTION...] DOMAIN [OPERATION]",
    .summary = "Cancel a running save, restore, dump or migration",
    .details =
        "OPERATION is needed only if there are several of them: save restore\n"
        "dump-core migrate receive.\n"
        "\n"
        "  --timeout=SECONDS      wait no longer for the end; 60\n"
        "\n"
        "Exit status: 0 it has ended; 1 it has not, or nothing was under "
        "way.\n\n",
    .short_options = "",
    .long_options = (const struct option[]){
        { "timeout", required_argument, NULL, OPTION_TIMEOUT },
        HELP_OPTION },
    .run = cancel_run,
};
/* clang-format on */
