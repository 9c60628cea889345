/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xl itself is killed by SIGINT, which leaves the guest suspended or half
 * built.  Its save helper, however, takes SIGTERM as a request to stop: it
 * makes its next write fail, libxl reports the failed save, and xl resumes the
 * guest.  A restore helper is killed by it, and libxl destroys the partial
 * domain.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "operation/xenstore.h"
#include "operations.h"
#include "progress.h"
#include "xl.h"

#define ANCESTORS_MAX 32
/* The helper may not be running yet when the signal comes. */
#define SEARCH_INTERVAL_NS 100000000

const struct xl_kind xl_save = {
    .helper = "--save-domain",
    .ending = "cancelling the save; xl will resume the domain",
    .waiting = "still waiting for xl to resume the domain",
    .done = "saved",
    .where = "to",
    .private = true,
};

const struct xl_kind xl_restore = {
    .helper = "--restore-domain",
    .detaches = true,
    .ending = "cancelling the restore; xl will destroy the partial domain",
    .waiting = "still waiting for xl to destroy the domain",
    .done = "restored",
    .where = "from",
};

const struct xl_kind xl_dump = {
    .ending = "cancelling the dump",
    .waiting = "still waiting for xl to exit",
    .done = "dumped",
    .where = "to",
};

/* ssh may ask for a passphrase; xl itself reports the outcome. */
const struct xl_kind xl_migrate = {
    .group = GROUP_OURS,
    .detaches = true,
};

const struct xl_kind xl_receive = {
    .group = GROUP_SESSION,
    .detaches = true,
};

const struct xl_kind xl_query = { .group = GROUP_OURS };

/* ---- arguments ---------------------------------------------------------- */

void arguments_add(struct arguments *arguments, const char *argument)
{
    size_t slots = arguments->argc + 2;

    arguments->argv = xrealloc(arguments->argv,
                               slots * sizeof(*arguments->argv));
    arguments->argv[arguments->argc++] = xstrdup(argument);
    arguments->argv[arguments->argc] = NULL;
}

void arguments_add_operands(struct arguments *arguments, char **argv)
{
    char **at;

    for (at = argv; *at; at++)
        if (**at == '-') {
            arguments_add(arguments, "--");
            break;
        }
    for (at = argv; *at; at++)
        arguments_add(arguments, *at);
}

void arguments_free(struct arguments *arguments)
{
    int i;

    for (i = 0; i < arguments->argc; i++)
        free(arguments->argv[i]);
    free(arguments->argv);
    arguments->argv = NULL;
    arguments->argc = 0;
}

void xl_init(struct xl *xl, const struct xl_kind *kind, const char *command)
{
    *xl = (struct xl){ .kind = kind, .fds = { -1, -1, -1 } };
    arguments_add(&xl->arguments, "xl");
    arguments_add(&xl->arguments, command);
}

void xl_free(struct xl *xl)
{
    arguments_free(&xl->arguments);
}

/* ---- the program -------------------------------------------------------- */

#define XL_PATH_DEFAULT "/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin"

static bool is_script(const char *path)
{
    char magic[2] = "";
    FILE *file = fopen(path, "re");

    if (file) {
        if (fread(magic, 1, sizeof(magic), file) != sizeof(magic))
            magic[0] = 0;
        fclose(file);
    }
    return magic[0] == '#' && magic[1] == '!';
}

static bool read_number(const char *path, unsigned *number)
{
    FILE *file = fopen(path, "re");
    bool ok = false;

    if (file) {
        ok = fscanf(file, "%u", number) == 1;
        fclose(file);
    }
    return ok;
}

/*
 * Debian's xl is a shell script that starts the xl of the running hypervisor.
 * Start that xl directly, so that the plugin is not loaded into the shell.
 */
static char *behind_wrapper(char *path)
{
    unsigned major, minor;
    char *program;

    if (!is_script(path) ||
        !read_number("/sys/hypervisor/version/major", &major) ||
        !read_number("/sys/hypervisor/version/minor", &minor))
        return path;
    program = xasprintf("/usr/lib/xen-%u.%u/bin/xl", major, minor);
    if (access(program, X_OK) < 0) {
        free(program);
        return path;
    }
    free(path);
    return program;
}

static char *search_path(const char *directories)
{
    const char *at = directories;
    char *path;

    while (*at) {
        size_t length = strcspn(at, ":");

        if (length) {
            path = xasprintf("%.*s/xl", (int)length, at);
            if (access(path, X_OK) == 0)
                return path;
            free(path);
        }
        at += length;
        at += *at == ':';
    }
    return NULL;
}

const char *xl_program(void)
{
    static char *program;
    const char *set = secure_getenv("XL_ALIGNED_XL");
    const char *directories = secure_getenv("PATH");

    if (set && *set)
        return set;
    if (program)
        return program;
    program = search_path(directories ? directories : "");
    if (!program)
        program = search_path(XL_PATH_DEFAULT);
    if (!program) {
        report("xl is neither in PATH nor in %s; are Xen's tools installed?",
               XL_PATH_DEFAULT);
        return NULL;
    }
    program = behind_wrapper(program);
    return program;
}

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
    /* "pid (name) state parent": the name may contain parentheses. */
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

/* Whether `mode` is one of its arguments. */
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

/* Signals a process only if it is the helper, even if the pid is reused. */
static bool stop_if_helper(pid_t pid, pid_t xl, const char *mode)
{
    struct process process;

    return !process_of(pid, &process) && is_helper(pid, mode) &&
           descends_from(pid, xl) && !process_signal(&process, SIGTERM);
}

static bool stop_helper(pid_t xl, const char *mode)
{
    struct dirent *item;
    bool sent = false;
    DIR *proc = opendir("/proc");

    if (!proc)
        return false;
    while ((item = readdir(proc)))
        if (isdigit((unsigned char)item->d_name[0]))
            sent |= stop_if_helper(strtol(item->d_name, NULL, 10), xl, mode);
    closedir(proc);
    return sent;
}

/* ---- running it --------------------------------------------------------- */

int xl_become(const char *program, char **argv)
{
    execvp(program, argv);
    report("running %s: %s", program, strerror(errno));
    return STATUS_NO_XL;
}

static void child(const struct xl *xl, int error_fd)
{
    int errnum, i;

    for (i = 0; i < 3; i++)
        if (xl->fds[i] >= 0)
            dup2(xl->fds[i], i);
    /*
     * Else SIGPIPE stays ignored: xl must not die of it with its guest
     * suspended.
     */
    if (xl->kind->detaches && xl->fds[STDERR_FILENO] < 0)
        signal(SIGPIPE, xl->old_sigpipe);
    if (xl->kind->group == GROUP_OWN) {
        setpgid(0, 0);
        /* A background group now, which must not be stopped when it prints. */
        signal(SIGTTOU, SIG_IGN);
    } else if (xl->kind->group == GROUP_SESSION) {
        setsid();
    }
    sigprocmask(SIG_SETMASK, &xl->old_mask, NULL);
    if (xl->kind->private)
        umask(077);
    execvp(xl->program, xl->arguments.argv);
    errnum = errno;
    if (write(error_fd, &errnum, sizeof(errnum)) < 0)
        _exit(STATUS_NO_XL);
    _exit(STATUS_NO_XL);
}

int xl_start(const struct xl *xl, pid_t *pid)
{
    int error_pipe[2], errnum = 0;
    ssize_t r;

    if (pipe2(error_pipe, O_CLOEXEC) < 0)
        return errno;
    *pid = fork();
    if (*pid == 0)
        child(xl, error_pipe[1]);
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

static bool reap(pid_t pid, struct xl_result *result)
{
    int status;

    if (waitpid(pid, &status, WNOHANG) != pid)
        return false;
    result->killed = WIFSIGNALED(status);
    result->status = result->killed ? 128 + WTERMSIG(status)
                                    : WEXITSTATUS(status);
    return true;
}

static bool stop(pid_t pid, const struct xl *xl, int signum)
{
    if (xl->kind->helper)
        return stop_helper(pid, xl->kind->helper);
    return kill(pid, signum) == 0;
}

/* The terminal signals xl itself if it is in our group. */
static void take_signal(pid_t pid, const struct xl *xl, int signum,
                        struct xl_result *result)
{
    if (xl->kind->group == GROUP_OURS) {
        if (signum == SIGTERM || signum == SIGHUP)
            kill(pid, signum);
        return;
    }
    if (!result->interrupt)
        report("%s: %s", strsignal(signum), xl->kind->ending);
    else
        report("%s", xl->kind->waiting);
    result->interrupt = signum;
}

static void attend(pid_t pid, const struct xl *xl, struct xl_result *result)
{
    const struct timespec interval = { 0, SEARCH_INTERVAL_NS };
    bool stopped = false;
    int signum;

    while (!reap(pid, result)) {
        bool wakes = (result->interrupt && !stopped) || xl->tick;

        if (result->interrupt && !stopped)
            stopped = stop(pid, xl, result->interrupt);
        signum = sigtimedwait(&xl->signals, NULL, wakes ? &interval : NULL);
        if (xl->tick)
            xl->tick(xl->tick_context);
        if (signum > 0 && signum != SIGCHLD)
            take_signal(pid, xl, signum, result);
    }
}

void xl_guard(struct xl *xl)
{
    static const int signums[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGCHLD };
    size_t i;

    /* With SIGCHLD ignored, xl's exit status would be lost. */
    signal(SIGCHLD, SIG_DFL);
    xl->old_sigpipe = signal(SIGPIPE, SIG_IGN);
    sigemptyset(&xl->signals);
    for (i = 0; i < sizeof(signums) / sizeof(signums[0]); i++)
        sigaddset(&xl->signals, signums[i]);
    sigprocmask(SIG_BLOCK, &xl->signals, &xl->old_mask);
}

int xl_run(struct xl *xl, struct xl_result *result)
{
    pid_t pid = -1;
    int r;

    *result = (struct xl_result){ 0 };
    r = xl_start(xl, &pid);
    /* xl holds the only write end of the pipe used as its stderr. */
    if (xl->fds[STDERR_FILENO] >= 0)
        close(xl->fds[STDERR_FILENO]);
    xl->fds[STDERR_FILENO] = -1;
    if (r) {
        report("running %s: %s", xl->program, strerror(r));
        result->status = STATUS_NO_XL;
        return -1;
    }
    attend(pid, xl, result);
    return 0;
}

int xl_run_shown(struct xl *xl, const char *progress, struct xl_result *result)
{
    int r;

    xl->shown = progress_begin(progress, xl);
    r = xl_run(xl, result);
    progress_stop(xl->shown);
    return r;
}

int xl_finish(struct xl *xl, const char *progress)
{
    struct xl_result result;

    if (!progress_wanted(progress))
        return xl_become(xl->program, xl->arguments.argv);
    xl_guard(xl);
    xl_run_shown(xl, progress, &result);
    progress_end(xl->shown, result.status == STATUS_OK);
    if (result.killed)
        operations_sweep();
    if (!result.interrupt)
        return result.status;
    if (result.status != STATUS_OK)
        return 128 + result.interrupt;
    report("too late to cancel: already complete");
    return STATUS_OK;
}
