/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /etc/xen/xl-aligned.conf in xl's own syntax, read by xl's own parser, and
 * the environment, which overrides it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libxlutil.h>

#include "common/text.h"
#include "config.h"

#define CONFIG_MAX (1U << 20)

/* ---- one table for both ------------------------------------------------- */

static int set_format(xl_aligned_options *opts, const char *value)
{
    enum xensave_format format;

    if (!strcmp(value, "auto")) {
        opts->format = XL_ALIGNED_FORMAT_AUTO;
        return 0;
    }
    if (xensave_format_parse(value, &format))
        return -1;
    opts->format = format;
    return 0;
}

static int set_io(xl_aligned_options *opts, const char *value)
{
    return xensave_io_parse(value, &opts->io);
}

static int set_engine(xl_aligned_options *opts, const char *value)
{
    return xensave_engine_parse(value, &opts->engine);
}

static int set_restore_io(xl_aligned_options *opts, const char *value)
{
    if (xensave_io_parse(value, &opts->restore_io))
        return -1;
    return opts->restore_io == XENSAVE_IO_WINDOW ? -1 : 0;
}

static int set_reserve(xl_aligned_options *opts, const char *value)
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
        opts->reserve = !strcmp(value, words[i][1]);
        return 0;
    }
    return -1;
}

static int set_compress(xl_aligned_options *opts, const char *value)
{
    return xensave_compression_parse(value, &opts->compression);
}

static const struct setting {
    const char *name;
    const char *variable;
    const char *values;
    size_t environment; /* offset of its member */
    int (*set)(xl_aligned_options *opts, const char *value);
} settings[] = {
    { "format", "XL_ALIGNED_FORMAT", "auto, v3, compat or v2",
      offsetof(struct environment, format), set_format },
    { "io", "XL_ALIGNED_IO", "auto, direct, window or buffered",
      offsetof(struct environment, io), set_io },
    { "engine", "XL_ALIGNED_ENGINE", "auto, uring or thread",
      offsetof(struct environment, engine), set_engine },
    { "restore_io", "XL_ALIGNED_RESTORE_IO", "auto, direct or buffered",
      offsetof(struct environment, restore_io), set_restore_io },
    { "reserve", "XL_ALIGNED_RESERVE", "yes or no",
      offsetof(struct environment, reserve), set_reserve },
    { "compress", "XL_ALIGNED_COMPRESS",
      "none, lz4, lz4:1 to lz4:12, zstd, zstd:1 to zstd:19, or one of these "
      "with :all behind it",
      offsetof(struct environment, compress), set_compress },
};
#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

static int set(const struct setting *setting, xl_aligned_options *opts,
               const char *where, const char *value, char *why, size_t size)
{
    char text[256];

    if (!setting->set(opts, value))
        return 0;
    /* Of one line, whatever the value is. */
    text_printable(text, sizeof(text), value, strlen(value));
    snprintf(why, size, "%s: \"%s\" is none of %s", where, text,
             setting->values);
    return -1;
}

/* ---- the file ----------------------------------------------------------- */

struct parser {
    XLU_Config *(*init)(FILE *, const char *);
    int (*readdata)(XLU_Config *, const char *, int);
    int (*get_string)(const XLU_Config *, const char *, const char **, int);
    void (*destroy)(XLU_Config *);
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

static int read_settings(const struct parser *parser, XLU_Config *config,
                         const char *path, xl_aligned_options *opts, char *why,
                         size_t size)
{
    char where[PATH_MAX + 64];
    const char *value;
    size_t i;
    int r;

    for (i = 0; i < SETTINGS; i++) {
        snprintf(where, sizeof(where), "%s: %s", path, settings[i].name);
        r = parser->get_string(config, settings[i].name, &value, 1);
        if (r == ESRCH)
            continue;
        if (r) {
            snprintf(why, size, "%s: not a string: %s", where,
                     settings[i].values);
            return -1;
        }
        if (set(&settings[i], opts, where, value, why, size))
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

static int read_file(xl_aligned_options *opts, const char *path, int minor,
                     char *why, size_t size)
{
    struct parser parser;
    XLU_Config *config = NULL;
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
        r = read_settings(&parser, config, path, opts, why, size);
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
static int check_compression(const xl_aligned_options *opts, const char *where,
                             char *why, size_t size)
{
    if (!opts->compression.codec || opts->format == XL_ALIGNED_FORMAT_AUTO ||
        opts->format == XENSAVE_FORMAT_V3)
        return 0;
    snprintf(why, size, "%s: \"%s\" is for format v3, and %s was asked for",
             where, xensave_codec_name(opts->compression.codec),
             xensave_format_name(opts->format));
    return -1;
}

void environment_settings(struct environment *env,
                          char *(*get)(const char *name))
{
    size_t i;

    for (i = 0; i < SETTINGS; i++)
        *(char **)((char *)env +
                   settings[i].environment) = get(settings[i].variable);
}

bool options_know(const char *name, size_t length)
{
    size_t i;

    for (i = 0; i < SETTINGS; i++)
        if (strlen(settings[i].name) == length &&
            !strncmp(name, settings[i].name, length))
            return true;
    return false;
}

static int read_environment(xl_aligned_options *opts,
                            const struct environment *env, char *why,
                            size_t size)
{
    const char *value;
    char name[256];
    size_t i;

    for (i = 0; i < SETTINGS; i++) {
        value = *(char *const *)((const char *)env + settings[i].environment);
        if (value &&
            set(&settings[i], opts, settings[i].variable, value, why, size))
            return -1;
    }
    /* Said in this one command, which knows what it writes to. */
    opts->any_reader = env->format && env->pipe &&
                       opts->format != XL_ALIGNED_FORMAT_AUTO;
    /* What is negotiated is not a matter of settings. */
    if (env->compress && !env->negotiated &&
        check_compression(opts, "XL_ALIGNED_COMPRESS", why, size))
        return -1;
    if (env->commit_name && env->commit_name[0] != '/') {
        text_printable(name, sizeof(name), env->commit_name,
                       strlen(env->commit_name));
        snprintf(why, size,
                 "XL_ALIGNED_COMMIT_NAME: %s is not an absolute "
                 "path",
                 name);
        return -1;
    }
    return 0;
}

void options_default(xl_aligned_options *opts)
{
    memset(opts, 0, sizeof(*opts));
    opts->format = XL_ALIGNED_FORMAT_AUTO;
    opts->io = XENSAVE_IO_AUTO;
    opts->restore_io = XENSAVE_IO_AUTO;
    opts->engine = XENSAVE_ENGINE_AUTO;
    opts->reserve = true;
}

int options_read(xl_aligned_options *opts, const struct environment *env,
                 int minor, char *why, size_t size)
{
    const char *path = env && env->config ? env->config : NULL;
    char where[PATH_MAX + 16];

    options_default(opts);
    if (path || !access(CONFIG_PATH, F_OK)) {
        if (!path)
            path = CONFIG_PATH;
        if (read_file(opts, path, minor, why, size))
            return -1;
        snprintf(where, sizeof(where), "%s: compress", path);
        if (check_compression(opts, where, why, size))
            return -1;
    }
    return env ? read_environment(opts, env, why, size) : 0;
}
