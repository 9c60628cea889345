/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checks whether the libraries of this host fit together: the dynamic linker
 * lists the functions that would be called, without running the program.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "doctor.h"
#include "xl-cmds/plugin.h"

#define XEN_MINOR_MONITOR_EXITS 19

/* A function that `user` (the start of a file name) must get from us. */
struct hook {
    const char *name;
    const char *user;
    bool seen;  /* it is called */
    bool bound; /* and bound to ours */
};

struct linkage {
    const char *library; /* ours */
    struct hook *hooks;
    size_t count;
    int minor;   /* of libxenlight; -1: not seen */
    bool linked; /* something was */
};

/* ---- asking the linker -------------------------------------------------- */

static void run_linker(const char *program, const char *library,
                       const char *output)
{
    const struct rlimit none = { 0, 0 };
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    setrlimit(RLIMIT_CORE, &none);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    setenv("LD_PRELOAD", library, 1);
    setenv("LD_BIND_NOW", "1", 1);
    setenv("LD_DEBUG", "bindings", 1);
    setenv("LD_DEBUG_OUTPUT", output, 1);
    /* As ldd -r does: everything is bound, nothing is run. */
    setenv("LD_TRACE_LOADED_OBJECTS", "1", 1);
    setenv("LD_WARN", "yes", 1);
    execl(program, program, NULL);
    _exit(127);
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* "PID: binding file A [0] to B [0]: normal symbol `name' [VERSION]" */
static void take_line(struct linkage *linkage, const char *line)
{
    char user[PATH_MAX], giver[PATH_MAX], name[128];
    const char *at = strstr(line, "binding file ");
    size_t i;

    if (!at || sscanf(at,
                      "binding file %4095s [0] to %4095s [0]: normal "
                      "symbol `%127[^']",
                      user, giver, name) != 3)
        return;
    linkage->linked = true;
    if (linkage->minor < 0)
        sscanf(base_of(giver), "libxenlight.so.4.%d", &linkage->minor);
    for (i = 0; i < linkage->count; i++) {
        struct hook *hook = &linkage->hooks[i];

        if (strcmp(hook->name, name) != 0 ||
            strncmp(base_of(user), hook->user, strlen(hook->user)) != 0)
            continue;
        hook->seen = true;
        hook->bound |= strcmp(base_of(giver), base_of(linkage->library)) == 0;
    }
}

static int ask_linker(const char *program, struct linkage *linkage)
{
    char directory[] = "/tmp/xl-aligned.XXXXXX", *output, *path;
    char *line = NULL;
    size_t size = 0;
    FILE *file;
    pid_t pid;
    int r = -1;

    if (!mkdtemp(directory))
        return -1;
    output = xasprintf("%s/linker", directory);
    pid = fork();
    if (!pid)
        run_linker(program, linkage->library, output);
    if (pid < 0 || waitpid(pid, NULL, 0) != pid)
        goto out;
    path = xasprintf("%s.%d", output, (int)pid);
    file = fopen(path, "re");
    if (file) {
        while (getline(&line, &size, file) >= 0)
            take_line(linkage, line);
        fclose(file);
        unlink(path);
    }
    r = 0;
    free(line);
    free(path);

out:
    rmdir(directory);
    free(output);
    return r;
}

/* ---- what it says ------------------------------------------------------- */

static void judge(struct doctor *doctor, const char *what, const char *program,
                  const struct linkage *linkage)
{
    char bound[256] = "";
    size_t i;

    if (!linkage->linked) {
        doctor_find(doctor, FINDING_BAD, what,
                    "%s: no output from the dynamic linker: is it linked "
                    "statically or setuid?",
                    program);
        return;
    }
    for (i = 0; i < linkage->count; i++) {
        const struct hook *hook = &linkage->hooks[i];

        if (!hook->seen || !hook->bound) {
            doctor_find(doctor, FINDING_BAD, what, "%s: %s of %s* is %s",
                        program, hook->name, hook->user,
                        hook->seen ? "not the plugin's" : "not used");
            return;
        }
        snprintf(bound + strlen(bound), sizeof(bound) - strlen(bound), "%s%s",
                 i ? ", " : "", hook->name);
    }
    doctor_find(doctor, FINDING_OK, what, "%s of %s come from %s", bound,
                program, linkage->library);
}

static void check_version(struct doctor *doctor, int minor)
{
    unsigned major, running;
    FILE *file;

    if (minor < 0)
        doctor_find(doctor, FINDING_BAD, "libxl",
                    "xl does not use a libxenlight.so.4.N");
    else if (minor < XEN_MINOR_LEAST)
        doctor_find(doctor, FINDING_BAD, "libxl",
                    "of Xen 4.%d; the plugin "
                    "needs 4.%d or newer",
                    minor, XEN_MINOR_LEAST);
    else
        doctor_find(doctor, FINDING_OK, "libxl", "of Xen 4.%d", minor);
    if (minor >= XEN_MINOR_LEAST && minor <= XEN_MINOR_MONITOR_EXITS)
        doctor_find(doctor, FINDING_NOTE, "monitor",
                    "of a domain created without the plugin: exits when the "
                    "domain is saved; after save -c or a failed save its "
                    "next reboot or crash is not handled; create it with "
                    "xl-aligned run -- xl create");

    file = fopen("/sys/hypervisor/version/major", "re");
    if (!file || fscanf(file, "%u", &major) != 1)
        major = 0;
    if (file)
        fclose(file);
    file = fopen("/sys/hypervisor/version/minor", "re");
    if (!file || fscanf(file, "%u", &running) != 1)
        running = 0;
    if (file)
        fclose(file);
    if (!major)
        doctor_find(doctor, FINDING_BAD, "xen",
                    "this host is not running Xen");
    else if (minor >= 0 && (int)running != minor)
        doctor_find(doctor, FINDING_BAD, "xen",
                    "%u.%u is running, but xl is for 4.%d", major, running,
                    minor);
    else
        doctor_find(doctor, FINDING_OK, "xen", "%u.%u is running", major,
                    running);
}

/* ---- the helper --------------------------------------------------------- */

static char *find_helper(const char *xl)
{
    static const char *const places[] = {
        "/usr/lib/xen/bin",
        "/usr/libexec/xen/bin",
        "/usr/local/lib/xen/bin",
        "/usr/local/libexec/xen/bin",
    };
    const char *set = secure_getenv("LIBXL_SAVE_HELPER");
    char *copy, *path;
    size_t i;

    if (set && *set)
        return xstrdup(set);
    copy = xstrdup(xl);
    path = xasprintf("%s/libxl-save-helper", dirname(copy));
    free(copy);
    for (i = 0; access(path, X_OK) < 0; i++) {
        free(path);
        if (i == sizeof(places) / sizeof(places[0]))
            return NULL;
        path = xasprintf("%s/libxl-save-helper", places[i]);
    }
    return path;
}

static char *find_helper_library(const char *plugin)
{
    static const char *const places[] = { "xl-aligned/", "" };
    const char *base = base_of(plugin);
    char *path;
    size_t i;

    for (i = 0; i < 2; i++) {
        path = xasprintf("%.*s%slibxl-aligned-stream.so", (int)(base - plugin),
                         plugin, places[i]);
        if (access(path, R_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}

static void check_helper(struct doctor *doctor, const char *xl,
                         const char *plugin)
{
    struct hook hooks[] = {
        { .name = "read_exact", .user = "libxenguest" },
        { .name = "write_exact", .user = "libxenguest" },
        { .name = "writev_exact", .user = "libxenguest" },
    };
    struct linkage linkage = {
        .hooks = hooks,
        .count = sizeof(hooks) / sizeof(hooks[0]),
        .minor = -1,
    };
    char *library = find_helper_library(plugin);
    char *helper = find_helper(xl);

    linkage.library = library;
    if (!library)
        doctor_find(doctor, FINDING_BAD, "helper",
                    "libxl-aligned-stream.so is not next to %s", plugin);
    else if (!helper)
        doctor_find(doctor, FINDING_NOTE, "helper",
                    "libxl-save-helper not found: not tested");
    else if (ask_linker(helper, &linkage))
        doctor_find(doctor, FINDING_NOTE, "helper", "not tested: %s",
                    strerror(errno));
    else
        judge(doctor, "helper", helper, &linkage);
    free(library);
    free(helper);
}

void doctor_host(struct doctor *doctor)
{
    struct hook hooks[] = {
        { .name = "libxl_domain_suspend", .user = "xl" },
        { .name = "libxl_domain_create_restore", .user = "xl" },
        { .name = "xc_domain_dumpcore", .user = "libxenlight" },
        { .name = "execvp", .user = "libxenlight" },
    };
    struct linkage linkage = {
        .hooks = hooks,
        .count = sizeof(hooks) / sizeof(hooks[0]),
        .minor = -1,
    };
    const char *plugin = plugin_path(), *xl;

    if (access(plugin, R_OK) < 0) {
        doctor_find(doctor, FINDING_BAD, "plugin", "%s: %s; plain xl is used",
                    plugin, strerror(errno));
        return;
    }
    xl = xl_program();
    if (!xl) {
        doctor_find(doctor, FINDING_BAD, "xl",
                    "not found; are Xen's tools "
                    "installed?");
        return;
    }
    linkage.library = plugin;
    if (ask_linker(xl, &linkage))
        doctor_find(doctor, FINDING_NOTE, "plugin", "not tested: %s",
                    strerror(errno));
    else
        judge(doctor, "plugin", xl, &linkage);
    check_helper(doctor, xl, plugin);
    check_version(doctor, linkage.minor);
    doctor->minor = linkage.minor;
}
