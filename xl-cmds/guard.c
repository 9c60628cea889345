/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xl itself dies of SIGINT and leaves the guest suspended, or half built.  Its
 * save helper, however, takes SIGTERM as a request to stop: it makes its next
 * write fail, libxl reports the failed save, and xl resumes the guest.  A
 * restore helper dies of it, and libxl destroys what there is of the guest.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guard.h"
#include "operation/operation.h"

#define ANCESTORS_MAX 32
/* The helper may not be running yet when the signal comes. */
#define SEARCH_INTERVAL_NS 100000000

/* ---- the helper --------------------------------------------------------- */

static pid_t parent_of(pid_t pid)
{
    char path[32], line[512], *close_paren;
    pid_t parent = 0;
    size_t length;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    file = fopen(path, "re");
    if (!file)
        return 0;
    length = fread(line, 1, sizeof(line) - 1, file);
    fclose(file);
    line[length] = 0;
    /* "pid (name) state parent": the name may hold parentheses itself. */
    close_paren = strrchr(line, ')');
    if (close_paren)
        parent = strtol(close_paren + strcspn(close_paren, " ") + 3, NULL, 10);
    return parent;
}

static bool descends_from(pid_t pid, pid_t ancestor)
{
    int i;

    for (i = 0; i < ANCESTORS_MAX && pid > 1; i++) {
        pid = parent_of(pid);
        if (pid == ancestor)
            return true;
    }
    return false;
}

const struct guard_kind guard_save = {
    .helper = "--save-domain",
    .ending = "ending the save; xl resumes the domain",
    .waiting = "still waiting for xl to resume the domain",
    .private = true,
};

const struct guard_kind guard_restore = {
    .helper = "--restore-domain",
    .detaches = true,
    .ending = "ending the restore; xl destroys what there is of the domain",
    .waiting = "still waiting for xl to destroy the domain",
};

const struct guard_kind guard_dump = {
    .ending = "ending the dump",
    .waiting = "still waiting for xl to end",
};

/* Whether one of the arguments says so. */
static bool is_helper(pid_t pid, const char *mode)
{
    char path[32], line[4096], *at;
    bool found = false;
    ssize_t r;
    int fd;

    snprintf(path, sizeof(path), "/proc/%ld/cmdline", (long)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    r = read(fd, line, sizeof(line) - 1);
    close(fd);
    if (r <= 0)
        return false;
    line[r] = 0;
    for (at = line; at < line + r && !found; at += strlen(at) + 1)
        found = strcmp(at, mode) == 0;
    return found;
}

/* Asks one process, if it is the helper, and nobody who gets its pid. */
static bool stop_if_helper(pid_t pid, pid_t xl, const char *mode)
{
    struct process process;

    return !process_of(pid, &process) && is_helper(pid, mode) &&
           descends_from(pid, xl) && !process_signal(&process, SIGTERM);
}

static bool stop_helper(pid_t xl, const char *mode)
{
    struct dirent *entry;
    bool sent = false;
    DIR *proc = opendir("/proc");

    if (!proc)
        return false;
    while ((entry = readdir(proc)))
        if (isdigit((unsigned char)entry->d_name[0]))
            sent |= stop_if_helper(strtol(entry->d_name, NULL, 10), xl, mode);
    closedir(proc);
    return sent;
}

/* ---- xl ----------------------------------------------------------------- */

static void child(const char *program, char **argv, const struct guard *guard,
                  int error_fd)
{
    int errnum;

    if (guard->stdout_to_stderr)
        dup2(STDERR_FILENO, STDOUT_FILENO);
    /* xl goes on when nobody reads its messages: its guest is suspended. */
    if (guard->stderr_fd >= 0) {
        dup2(guard->stderr_fd, STDERR_FILENO);
    } else if (guard->kind->detaches) {
        signal(SIGPIPE, guard->old_sigpipe);
    }
    setpgid(0, 0);
    /* In a background group now, which must not stop when it prints. */
    signal(SIGTTOU, SIG_IGN);
    sigprocmask(SIG_SETMASK, &guard->old_mask, NULL);
    if (guard->kind->private)
        umask(077);
    execvp(program, argv);
    errnum = errno;
    if (write(error_fd, &errnum, sizeof(errnum)) < 0)
        _exit(STATUS_NO_XL);
    _exit(STATUS_NO_XL);
}

/* Starts xl; 0 or an errno value if it cannot be run. */
static int start(const char *program, char **argv, const struct guard *guard,
                 pid_t *pid)
{
    int error_pipe[2], errnum = 0;
    ssize_t r;

    if (pipe2(error_pipe, O_CLOEXEC) < 0)
        return errno;
    *pid = fork();
    if (*pid == 0)
        child(program, argv, guard, error_pipe[1]);
    if (*pid < 0)
        errnum = errno;
    close(error_pipe[1]);
    if (*pid > 0) {
        r = read(error_pipe[0], &errnum, sizeof(errnum));
        if (r == sizeof(errnum))
            waitpid(*pid, NULL, 0);
        else
            errnum = 0;
    }
    close(error_pipe[0]);
    return errnum;
}

static bool reap(pid_t pid, struct guard_result *result)
{
    int status;

    if (waitpid(pid, &status, WNOHANG) != pid)
        return false;
    result->killed = WIFSIGNALED(status);
    result->status = result->killed ? 128 + WTERMSIG(status)
                                    : WEXITSTATUS(status);
    return true;
}

static bool stop(pid_t xl, const struct guard *guard, int signum)
{
    if (guard->kind->helper)
        return stop_helper(xl, guard->kind->helper);
    return kill(xl, signum) == 0;
}

static void attend(pid_t pid, const struct guard *guard,
                   struct guard_result *result)
{
    const struct timespec interval = { 0, SEARCH_INTERVAL_NS };
    bool stopped = false;
    int signum;

    while (!reap(pid, result)) {
        bool wakes = (result->interrupt && !stopped) || guard->tick;

        if (result->interrupt && !stopped)
            stopped = stop(pid, guard, result->interrupt);
        signum = sigtimedwait(&guard->signals, NULL, wakes ? &interval : NULL);
        if (guard->tick)
            guard->tick(guard->tick_context);
        if (signum < 0 || signum == SIGCHLD)
            continue;
        if (!result->interrupt)
            report("%s: %s", strsignal(signum), guard->kind->ending);
        else
            report("%s", guard->kind->waiting);
        result->interrupt = signum;
    }
}

void guard_begin(struct guard *guard, const struct guard_kind *kind)
{
    static const int signums[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGCHLD };
    size_t i;

    /* An ignored SIGCHLD would take xl's exit status away. */
    signal(SIGCHLD, SIG_DFL);
    guard->old_sigpipe = signal(SIGPIPE, SIG_IGN);
    guard->kind = kind;
    guard->stderr_fd = -1;
    guard->stdout_to_stderr = false;
    guard->tick = NULL;
    sigemptyset(&guard->signals);
    for (i = 0; i < sizeof(signums) / sizeof(signums[0]); i++)
        sigaddset(&guard->signals, signums[i]);
    sigprocmask(SIG_BLOCK, &guard->signals, &guard->old_mask);
}

int guard_run(struct guard *guard, const char *program, char **argv,
              struct guard_result *result)
{
    pid_t pid = -1;
    int r;

    *result = (struct guard_result){ 0 };
    r = start(program, argv, guard, &pid);
    if (guard->stderr_fd >= 0)
        close(guard->stderr_fd);
    guard->stderr_fd = -1;
    if (r) {
        report("running %s: %s", program, strerror(r));
        result->status = STATUS_NO_XL;
        return -1;
    }
    attend(pid, guard, result);
    return 0;
}
