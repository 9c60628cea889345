/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "operation/operation.h"
#include "plugin.h"

/* ---- settings ----------------------------------------------------------- */

static const char *option_name(const struct command *self, int opt)
{
    const struct option *option = self->long_options;

    while (option->val != opt)
        option++;
    return option->name;
}

int plugin_option(const struct command *self, int opt, const char *value,
                  struct environment *env)
{
    const struct setting *setting = &settings_table[opt - OPTION_LONG];
    struct settings scratch;

    if (opt < OPTION_LONG || opt >= OPTION_LONG + SETTINGS)
        return 0;
    if (setting->parse(&scratch, value)) {
        command_misuse(self, "--%s=%s: the value must be one of %s",
                       option_name(self, opt), value, setting->words);
        return -1;
    }
    *(const char **)((char *)env + setting->member) = value;
    return 1;
}

int plugin_options_check(const struct command *self,
                         const struct environment *env)
{
    const char *format = env->format, *compress = env->compress;

    if (!compress || !strcmp(compress, "none") || !format ||
        !strcmp(format, "v3") || !strcmp(format, "auto"))
        return 0;
    return command_misuse(self,
                          "--compress=%s: only v3 can be compressed, "
                          "not %s",
                          compress, format);
}

/* ---- environment -------------------------------------------------------- */

static void variable_failed(void)
{
    report("setenv: %s", strerror(errno));
    exit(STATUS_FAILED);
}

const char *plugin_path(void)
{
    const char *set = secure_getenv("XL_ALIGNED_PLUGIN");

    return set && *set ? set : XL_ALIGNED_PLUGIN_PATH;
}

/* The plugin believes those of a process that is alive. */
static void sign(void)
{
    struct process self;
    char *text;

    if (process_of(getpid(), &self) < 0) {
        report("/proc does not know this process");
        exit(STATUS_FAILED);
    }
    text = xasprintf("%ld-%" PRIu64, (long)self.pid, self.start);
    if (setenv("XL_ALIGNED_BY", text, 1))
        variable_failed();
    free(text);
}

bool plugin_environment(const struct environment *env)
{
    const char *plugin = plugin_path();
    const char *preload = getenv("LD_PRELOAD");
    char *both;

    /* One left over would be about another xl. */
    environment_unset(false);
    if (access(plugin, R_OK) < 0) {
        report("warning: no plugin at %s (%s): xl works as without it", plugin,
               strerror(errno));
        return false;
    }
    sign();
    both = preload && *preload ? xasprintf("%s:%s", plugin, preload)
                               : xstrdup(plugin);
    if (environment_write(env) || setenv("LD_PRELOAD", both, 1))
        variable_failed();
    free(both);
    return true;
}

/* ---- xl ----------------------------------------------------------------- */

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
 * Debian's xl is a shell script that starts the one which fits the
 * hypervisor.  The plugin is for xl and not for a shell, so start that one.
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

int become(const char *program, char **argv)
{
    execvp(program, argv);
    report("running %s: %s", program, strerror(errno));
    return STATUS_NO_XL;
}

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
