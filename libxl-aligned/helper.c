/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Preloads the library into the save helper.  AppArmor, a noexec mount or a
 * missing file can prevent that, so before a restore that depends on it, the
 * helper is started once to find out.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "operation.h"
#include "restore.h"

/* ---- execvp ------------------------------------------------------------- */

#define ENVIRONMENT_MAX 65536 /* bytes of pointers, and of LD_PRELOAD */

static bool is_variable(const char *entry, const char *name)
{
    size_t length = strlen(name);

    return !strncmp(entry, name, length) && entry[length] == '=';
}

static int exec_with_library(const char *file, char *const argv[],
                             char *stream, const char *identity,
                             const char *library)
{
    const char *others = getenv("LD_PRELOAD");
    size_t count = 0, used = 0, i, preload_size;

    /* NULL after clearenv(). */
    for (i = 0; environ && environ[i]; i++)
        count++;
    preload_size = sizeof("LD_PRELOAD=:") + strlen(library) +
                   (others ? strlen(others) : 0);
    if (preload_size > ENVIRONMENT_MAX ||
        (count + 4) * sizeof(char *) > ENVIRONMENT_MAX)
        return execvpe(file, argv, environ);

    char *variables[count + 4];
    char preload[preload_size];
    char lines[sizeof(IDENTITY_VARIABLE "=") + XENSAVE_IDENTITY_MAX];

    snprintf(preload, preload_size, "LD_PRELOAD=%s%s%s", library,
             others && *others ? ":" : "", others ? others : "");
    for (i = 0; i < count; i++) {
        if (!is_variable(environ[i], "LD_PRELOAD") &&
            !is_variable(environ[i], STREAM_VARIABLE) &&
            !is_variable(environ[i], IDENTITY_VARIABLE))
            variables[used++] = environ[i];
    }
    snprintf(lines, sizeof(lines), IDENTITY_VARIABLE "=%s",
             identity ? identity : "");
    if (identity)
        variables[used++] = lines;
    variables[used++] = preload;
    variables[used++] = stream;
    variables[used] = NULL;

    return execvpe(file, argv, variables);
}

EXPORT int execvp(const char *file, char *const argv[])
{
    char stream[sizeof(STREAM_VARIABLE "=") + STREAM_PLAN_MAX];
    const size_t used = strlen(STREAM_VARIABLE "=");
    const struct stream_plan *plan = NULL;
    const struct helper_mode *mode;
    int argc;

    for (argc = 0; argv[argc]; argc++)
        ;
    mode = helper_mode(argc, argv);
    if (mode && helper_is_plain(argc, argv))
        plan = operation_child(atoi(argv[HELPER_FD]), mode->restore,
                               atoi(argv[HELPER_DOMID]));
    strcpy(stream, STREAM_VARIABLE "=");
    if (!plan || stream_plan_format(plan, stream + used, STREAM_PLAN_MAX))
        return execvpe(file, argv, environ);
    /* A plan is made after the runtime is known: this does not block. */
    return exec_with_library(file, argv, stream, plan->identity,
                             runtime_get()->helper_library);
}

/* ---- probing ---------------------------------------------------------- */

/* libxl's own constant, with the NUL behind it. */
#define HELPER_END "/libxl-save-helper"

struct search {
    ElfW(Addr) object;
    char *path;
    size_t size;
};

static int search_segment(const char *start, size_t length,
                          const struct search *search)
{
    const char *end = memmem(start, length, HELPER_END, sizeof(HELPER_END));
    const char *path = end;

    while (path && path > start && path[-1])
        path--;
    return path && *path == '/' &&
           snprintf(search->path, search->size, "%s", path) <
               (int)search->size;
}

static int search_object(struct dl_phdr_info *info, size_t size, void *context)
{
    const struct search *search = context;
    const ElfW(Phdr) * header;
    int i;

    (void)size;
    if (info->dlpi_addr != search->object)
        return 0;
    for (i = 0; i < info->dlpi_phnum; i++) {
        header = &info->dlpi_phdr[i];
        if (header->p_type == PT_LOAD &&
            (header->p_flags & (PF_R | PF_W)) == PF_R &&
            search_segment((char *)info->dlpi_addr + header->p_vaddr,
                           header->p_filesz, search))
            return 1;
    }
    return 0;
}

/* The path of libxl's helper, which is not part of its interface. */
static bool find_helper(const struct real *real, char *path, size_t size)
{
    const char *own = getenv("LIBXL_SAVE_HELPER");
    struct search search = { .path = path, .size = size };
    struct link_map *map;
    Dl_info info;

    if (own)
        return snprintf(path, size, "%s", own) < (int)size;
    if (!dladdr1((void *)real->suspend, &info, (void **)&map, RTLD_DL_LINKMAP))
        return false;
    search.object = map->l_addr;
    return dl_iterate_phdr(search_object, &search) == 1;
}

/* Without the library it aborts on this unknown mode. */
static void __attribute__((noreturn))
become_helper(const char *helper, const char *library, int out)
{
    char *argv[] = { (char *)helper, (char *)PROBE_MODE, NULL };
    char stream[] = STREAM_VARIABLE "=" PROBE_STREAM;
    /* 1, and not 0: no core through a pipe either. */
    const struct rlimit core = { 1, 1 };
    int null = open("/dev/null", O_RDWR);

    setrlimit(RLIMIT_CORE, &core);
    dup2(null, STDIN_FILENO);
    dup2(null, STDERR_FILENO);
    dup2(out, STDOUT_FILENO);
    exec_with_library(helper, argv, stream, NULL, library);
    _exit(127);
}

int helper_try(const struct runtime *runtime, char *why, size_t size)
{
    char helper[PATH_MAX], answer;
    int fds[2];
    ssize_t r;
    pid_t pid;

    if (!find_helper(&runtime->real, helper, sizeof(helper)) ||
        pipe2(fds, O_CLOEXEC))
        return 0;
    pid = fork();
    if (!pid)
        become_helper(helper, runtime->helper_library, fds[1]);
    close(fds[1]);
    while (pid > 0 && (r = read(fds[0], &answer, 1)) < 0 && errno == EINTR)
        ;
    close(fds[0]);
    if (pid < 0)
        return 0;
    /* Some programs reap every child: that is harmless. */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (r == 1)
        return 0;
    snprintf(why, size,
             "%s starts without %s: is it forbidden by AppArmor "
             "or a mount option?",
             helper, runtime->helper_library);
    return -1;
}
