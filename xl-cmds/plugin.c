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
#include "xensave.h"

/* ---- settings ----------------------------------------------------------- */

static bool is_compression(const char *value)
{
    struct xensave_compression compression;

    return xensave_compression_parse(value, &compression) == 0;
}

static const struct setting {
    int opt;
    const char *option;
    const char *values; /* words, a space after each */
    const char *variable;
    size_t offset;                    /* in struct plugin_settings */
    bool (*holds)(const char *value); /* NULL: one of the words */
} settings_table[] = {
    { OPTION_FORMAT, "--format", "v3 compat v2 auto ", "XL_ALIGNED_FORMAT",
      offsetof(struct plugin_settings, format), NULL },
    { OPTION_IO, "--io", "auto direct window buffered ", "XL_ALIGNED_IO",
      offsetof(struct plugin_settings, io), NULL },
    { OPTION_ENGINE, "--engine", "auto uring thread ", "XL_ALIGNED_ENGINE",
      offsetof(struct plugin_settings, engine), NULL },
    { OPTION_COMPRESS, "--compress", COMPRESS_WORDS " ", "XL_ALIGNED_COMPRESS",
      offsetof(struct plugin_settings, compress), is_compression },
    { OPTION_RESTORE_IO, "--io", "auto direct buffered ",
      "XL_ALIGNED_RESTORE_IO", offsetof(struct plugin_settings, restore_io),
      NULL },
};

#define SETTINGS (sizeof(settings_table) / sizeof(settings_table[0]))

static const char **setting_field(const struct setting *setting,
                                  struct plugin_settings *settings)
{
    return (const char **)((char *)settings + setting->offset);
}

static bool is_word_of(const char *value, const char *words)
{
    size_t length = strlen(value);
    const char *at;

    if (!length || strchr(value, ' '))
        return false;
    for (at = words; *at; at = strchr(at, ' ') + 1)
        if (strncmp(at, value, length) == 0 && at[length] == ' ')
            return true;
    return false;
}

int plugin_option(const struct command *self, int opt, const char *value,
                  struct plugin_settings *settings)
{
    const struct setting *setting;

    for (setting = settings_table; setting < settings_table + SETTINGS;
         setting++) {
        if (setting->opt != opt)
            continue;
        if (setting->holds ? !setting->holds(value)
                           : !is_word_of(value, setting->values)) {
            command_misuse(self, "%s=%s: the value must be one of %.*s",
                           setting->option, value,
                           (int)strlen(setting->values) - 1, setting->values);
            return -1;
        }
        *setting_field(setting, settings) = value;
        return 1;
    }
    return 0;
}

int plugin_options_check(const struct command *self,
                         const struct plugin_settings *settings)
{
    const char *format = settings->format, *compress = settings->compress;

    if (!compress || !strcmp(compress, "none") || !format ||
        !strcmp(format, "v3") || !strcmp(format, "auto"))
        return 0;
    return command_misuse(self,
                          "--compress=%s: only v3 can be compressed, "
                          "not %s",
                          compress, format);
}

/* ---- environment -------------------------------------------------------- */

static void set_variable(const char *name, const char *value)
{
    if (setenv(name, value, 1) < 0) {
        report("setting %s: %s", name, strerror(errno));
        exit(STATUS_FAILED);
    }
}

const char *plugin_path(void)
{
    const char *set = secure_getenv("XL_ALIGNED_PLUGIN");

    return set && *set ? set : XL_ALIGNED_PLUGIN_PATH;
}

/* What only a command sets; one left over would be about another xl. */
static const char *const commands_own[] = {
    "XL_ALIGNED_COMMIT_NAME", "XL_ALIGNED_LIVE", "XL_ALIGNED_NEGOTIATED",
    "XL_ALIGNED_PEER",        "XL_ALIGNED_PIPE", "XL_ALIGNED_PROGRESS",
};

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
    set_variable("XL_ALIGNED_BY", text);
    free(text);
}

bool plugin_environment(const struct plugin_settings *settings)
{
    const char *plugin = plugin_path();
    const char *preload = getenv("LD_PRELOAD");
    struct plugin_settings copy = *settings;
    char *both;
    size_t i;

    for (i = 0; i < sizeof(commands_own) / sizeof(commands_own[0]); i++)
        unsetenv(commands_own[i]);

    if (access(plugin, R_OK) < 0) {
        report("warning: no plugin at %s (%s): xl works as without it", plugin,
               strerror(errno));
        return false;
    }

    for (i = 0; i < SETTINGS; i++) {
        const char *value = *setting_field(&settings_table[i], &copy);

        if (value)
            set_variable(settings_table[i].variable, value);
    }
    sign();
    if (settings->pipe)
        set_variable("XL_ALIGNED_PIPE", "yes");
    if (settings->commit_name)
        set_variable("XL_ALIGNED_COMMIT_NAME", settings->commit_name);
    if (settings->live)
        set_variable("XL_ALIGNED_LIVE", "yes");
    both = preload && *preload ? xasprintf("%s:%s", plugin, preload)
                               : xstrdup(plugin);
    set_variable("LD_PRELOAD", both);
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
