/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /etc/xen/xl-aligned.conf in xl's own syntax, read by xl's own parser, and
 * the environment, which overrides it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/text.h"
#include "settings.h"

#define CONFIG_MAX (1U << 20)

/* ---- the table ------------------------------------------------- */

static int parse_format(struct settings *settings, const char *value)
{
    enum xensave_format format;

    if (!strcmp(value, "auto")) {
        settings->format = SETTINGS_FORMAT_AUTO;
        return 0;
    }
    if (xensave_format_parse(value, &format))
        return -1;
    settings->format = format;
    return 0;
}

static int parse_io(struct settings *settings, const char *value)
{
    return xensave_io_parse(value, &settings->io);
}

static int parse_engine(struct settings *settings, const char *value)
{
    return xensave_engine_parse(value, &settings->engine);
}

static int parse_restore_io(struct settings *settings, const char *value)
{
    if (xensave_io_parse(value, &settings->restore_io))
        return -1;
    return settings->restore_io == XENSAVE_IO_WINDOW ? -1 : 0;
}

static int parse_reserve(struct settings *settings, const char *value)
{
    static const char *const words[][2] = {
        { "no", "yes" },
        { "0", "1" },
        { "false", "true" },
    };
    size_t i;

    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(value, words[i][0]) && strcmp(value, words[i][1]))
            continue;
        settings->reserve = !strcmp(value, words[i][1]);
        return 0;
    }
    return -1;
}

static int parse_compress(struct settings *settings, const char *value)
{
    return xensave_compression_parse(value, &settings->compression);
}

static const char *word_format(const struct settings *settings)
{
    return settings->format == SETTINGS_FORMAT_AUTO
               ? "auto"
               : xensave_format_name(settings->format);
}

static const char *word_io(const struct settings *settings)
{
    return xensave_io_name(settings->io);
}

static const char *word_engine(const struct settings *settings)
{
    return xensave_engine_name(settings->engine);
}

static const char *word_restore_io(const struct settings *settings)
{
    return xensave_io_name(settings->restore_io);
}

static const char *word_reserve(const struct settings *settings)
{
    return settings->reserve ? "yes" : "no";
}

static const char *word_compress(const struct settings *settings)
{
    return xensave_codec_name(settings->compression.codec);
}

#define MEMBER(name) offsetof(struct environment, name)

const struct setting settings_table[SETTINGS] = {
    [SETTING_FORMAT] = { "format", "XL_ALIGNED_FORMAT",
                         "auto, v3, compat or v2", "auto", MEMBER(format),
                         parse_format, word_format },
    [SETTING_IO] = { "io", "XL_ALIGNED_IO", "auto, direct, window or buffered",
                     "auto", MEMBER(io), parse_io, word_io },
    [SETTING_ENGINE] = { "engine", "XL_ALIGNED_ENGINE",
                         "auto, uring or thread", "auto", MEMBER(engine),
                         parse_engine, word_engine },
    [SETTING_RESTORE_IO] = { "restore_io", "XL_ALIGNED_RESTORE_IO",
                             "auto, direct or buffered", "auto",
                             MEMBER(restore_io), parse_restore_io,
                             word_restore_io },
    [SETTING_RESERVE] = { "reserve", "XL_ALIGNED_RESERVE", "yes or no", "yes",
                          MEMBER(reserve), parse_reserve, word_reserve },
    [SETTING_COMPRESS] = { "compress", "XL_ALIGNED_COMPRESS",
                           "none, lz4, lz4:1 to lz4:12, zstd, zstd:1 to "
                           "zstd:19, or one of these followed by :all",
                           "none", MEMBER(compress), parse_compress,
                           word_compress },
};

const struct setting *setting_find(const char *name, size_t length)
{
    size_t i;

    for (i = 0; i < SETTINGS; i++)
        if (strlen(settings_table[i].name) == length &&
            !strncmp(name, settings_table[i].name, length))
            return &settings_table[i];
    return NULL;
}

static int set(const struct setting *setting, struct settings *settings,
               const char *where, const char *value, char *why, size_t size)
{
    char text[256];

    if (!setting->parse(settings, value))
        return 0;
    /* On one line, whatever the value is. */
    text_printable(text, sizeof(text), value, strlen(value));
    snprintf(why, size, "%s: \"%s\" is none of %s", where, text,
             setting->words);
    return -1;
}

void settings_default(struct settings *settings)
{
    size_t i;

    memset(settings, 0, sizeof(*settings));
    for (i = 0; i < SETTINGS; i++)
        settings_table[i].parse(settings, settings_table[i].standard);
}

/* ---- the environment ---------------------------------------------------- */

/* Not in the configuration file.  A user may set the first three as well. */
static const struct {
    const char *variable;
    size_t member;
} others[] = {
    { "XL_ALIGNED_CONFIG", MEMBER(config) },
    { "XL_ALIGNED_DUMP_FORMAT", MEMBER(dump_format) },
    { "XL_ALIGNED_DUMP_SPARSE", MEMBER(dump_sparse) },
    { "XL_ALIGNED_COMMIT_NAME", MEMBER(commit_name) },
    { "XL_ALIGNED_LIVE", MEMBER(live) },
    { "XL_ALIGNED_PROGRESS", MEMBER(progress) },
    { "XL_ALIGNED_NEGOTIATED", MEMBER(negotiated) },
    { "XL_ALIGNED_PIPE", MEMBER(pipe) },
    { "XL_ALIGNED_PEER", MEMBER(peer) },
};
#define COMMAND_FIRST (SETTINGS + 3)
#define VARIABLES     (SETTINGS + sizeof(others) / sizeof(others[0]))

static const char *variable_name(size_t i)
{
    return i < SETTINGS ? settings_table[i].variable
                        : others[i - SETTINGS].variable;
}

static const char **variable_value(const struct environment *env, size_t i)
{
    size_t member = i < SETTINGS ? settings_table[i].member
                                 : others[i - SETTINGS].member;

    return (const char **)((char *)env + member);
}

void environment_read(struct environment *env, bool command)
{
    const char *found;
    size_t i;

    memset(env, 0, sizeof(*env));
    for (i = 0; i < (command ? VARIABLES : COMMAND_FIRST); i++) {
        found = secure_getenv(variable_name(i));
        if (found && *found)
            *variable_value(env, i) = found;
    }
}

int environment_write(const struct environment *env)
{
    const char *value;
    size_t i;

    for (i = 0; i < VARIABLES; i++) {
        value = *variable_value(env, i);
        if (value && setenv(variable_name(i), value, 1))
            return -1;
    }
    return 0;
}

void environment_unset(bool all)
{
    size_t i;

    for (i = all ? 0 : COMMAND_FIRST; i < VARIABLES; i++)
        unsetenv(variable_name(i));
}

/* ---- the file ----------------------------------------------------------- */

/* Of libxlutil.h, which is not needed to build xl-aligned. */
struct parser {
    void *(*init)(FILE *, const char *);
    int (*readdata)(void *, const char *, int);
    int (*get_string)(const void *, const char *, const char **, int);
    void (*destroy)(void *);
};

/* The libxlutil of the same Xen; xl and libvirt have it loaded already. */
static int find_parser(struct parser *parser, int minor)
{
    void *library = RTLD_DEFAULT;
    char name[64];

    if (!dlsym(library, "xlu_cfg_init")) {
        snprintf(name, sizeof(name), "libxlutil.so.4.%d", minor);
        library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
        if (!library)
            return -1;
    }
    parser->init = dlsym(library, "xlu_cfg_init");
    parser->readdata = dlsym(library, "xlu_cfg_readdata");
    parser->get_string = dlsym(library, "xlu_cfg_get_string");
    parser->destroy = dlsym(library, "xlu_cfg_destroy");
    return parser->init && parser->readdata && parser->get_string &&
                   parser->destroy
               ? 0
               : -1;
}

static int read_settings(const struct parser *parser, void *config,
                         const char *path, struct settings *settings,
                         char *why, size_t size)
{
    char where[PATH_MAX + 64];
    const char *value;
    size_t i;
    int r;

    for (i = 0; i < SETTINGS; i++) {
        snprintf(where, sizeof(where), "%s: %s", path, settings_table[i].name);
        r = parser->get_string(config, settings_table[i].name, &value, 1);
        if (r == ESRCH)
            continue;
        if (r) {
            snprintf(why, size, "%s: not a string: %s", where,
                     settings_table[i].words);
            return -1;
        }
        if (set(&settings_table[i], settings, where, value, why, size))
            return -1;
    }
    return 0;
}

/*
 * Xen's parser is handed the text and not the file: it ends the process where
 * a read fails (as of a directory), and at a NUL inside quotes (an assertion),
 * and NULs are what a power cut may leave of a file.  To be freed; NULL and
 * `why` if it is not to be parsed.
 */
static char *read_text(const char *path, int *length, char *why, size_t size)
{
    char *text = malloc(CONFIG_MAX + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size_t used = 0;
    ssize_t r = -1;

    if (fd >= 0 && text)
        do {
            r = read(fd, text + used, CONFIG_MAX + 1 - used);
            used += r > 0 ? r : 0;
        } while (r > 0 || (r < 0 && errno == EINTR));
    if (r < 0)
        snprintf(why, size, "%s: %s", path, strerror(errno));
    else if (used > CONFIG_MAX)
        snprintf(why, size, "%s: more than 1 MiB; this is no configuration",
                 path);
    else if (memchr(text, 0, used))
        snprintf(why, size, "%s: holds a NUL; the file is damaged", path);
    else
        *length = used;
    if (r || used > CONFIG_MAX || memchr(text, 0, used)) {
        free(text);
        text = NULL;
    }
    if (fd >= 0)
        close(fd);
    return text;
}

static int read_file(struct settings *settings, const char *path, int minor,
                     char *why, size_t size)
{
    struct parser parser;
    void *config = NULL;
    FILE *messages = NULL;
    char *content, *text = NULL;
    int content_length = 0, r = -1;
    size_t length;

    content = read_text(path, &content_length, why, size);
    if (!content)
        goto out;
    if (find_parser(&parser, minor)) {
        snprintf(why, size, "%s: cannot be read without libxlutil", path);
        goto out;
    }
    /* The parser reports in several lines; one of them will do. */
    messages = open_memstream(&text, &length);
    config = messages ? parser.init(messages, path) : NULL;
    if (!config) {
        snprintf(why, size, "%s: %s", path, strerror(ENOMEM));
        goto out;
    }
    r = parser.readdata(config, content, content_length);
    if (r)
        snprintf(why, size, "%s: %s", path, strerror(r));
    else
        r = read_settings(&parser, config, path, settings, why, size);
    fflush(messages);
    if (r && text && *text)
        snprintf(why, size, "%.*s", (int)strcspn(text, "\n"), text);

out:
    if (config)
        parser.destroy(config);
    if (messages)
        fclose(messages);
    free(text);
    free(content);
    return r ? -1 : 0;
}

/* ---- both --------------------------------------------------------------- */

/*
 * `where` says compress.  What is said of the format in the same place, or of
 * compression in the stronger one, must not contradict it.
 */
static int check_compression(const struct settings *settings,
                             const char *where, char *why, size_t size)
{
    if (!settings->compression.codec ||
        settings->format == SETTINGS_FORMAT_AUTO ||
        settings->format == XENSAVE_FORMAT_V3)
        return 0;
    snprintf(why, size, "%s: \"%s\" is for format v3, and %s was asked for",
             where, xensave_codec_name(settings->compression.codec),
             xensave_format_name(settings->format));
    return -1;
}

static int read_environment(struct settings *settings,
                            const struct environment *env, char *why,
                            size_t size)
{
    const char *value;
    size_t i;

    for (i = 0; i < SETTINGS; i++) {
        value = *variable_value(env, i);
        if (value && set(&settings_table[i], settings,
                         settings_table[i].variable, value, why, size))
            return -1;
    }
    /* What is negotiated is not a matter of settings. */
    if (env->compress && !env->negotiated)
        return check_compression(settings, "XL_ALIGNED_COMPRESS", why, size);
    return 0;
}

int settings_read(struct settings *settings, const struct environment *env,
                  int minor, char *why, size_t size)
{
    const char *path = env && env->config ? env->config : SETTINGS_PATH;
    char where[PATH_MAX + 16];

    settings_default(settings);
    if ((env && env->config) || !access(path, F_OK)) {
        if (read_file(settings, path, minor, why, size))
            return -1;
        snprintf(where, sizeof(where), "%s: compress", path);
        if (check_compression(settings, where, why, size))
            return -1;
    }
    return env ? read_environment(settings, env, why, size) : 0;
}
