/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A toolstack of a few lines, used as xl is: it knows nothing of the plugin,
 * except for the commands api-*, which are only there when it is built with
 * -DAPI.
 *
 *   save FILE | save-on FD FILE | save-ao FILE | remus FILE | append FILE
 *   save-many FILE...           in one thread each
 *   save-watched FILE           and ask to hear of the domain's end
 *   restore FILE | restore-ao FILE | restore-remus FILE
 *   restore-managed FILE [FILE]
 *   api-save FILE NAME | api-async FILE | api-restore FILE
 *   noop | monitor
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libxl.h>

#include "fake.h"
#ifdef API
#include "libxl-aligned.h"
#endif
#include "xensave-format.h"

static const libxl_asyncop_how how = { .u.for_event = 1 };

/* FAKE_CONFIG: the stored configuration. */
static int write_head(int fd)
{
    struct xensave_v2_xl_header header = {
        .magic = XENSAVE_V2_XL_MAGIC,
        .byteorder = XENSAVE_V2_XL_BYTEORDER,
        .mandatory_flags = 3,
    };
    const char *config = getenv("FAKE_CONFIG");
    uint32_t length;

    if (!config)
        config = "{}";
    length = strlen(config) + 1;
    header.optional_data_len = sizeof(length) + length;
    return write(fd, &header, sizeof(header)) != sizeof(header) ||
           write(fd, &length, sizeof(length)) != sizeof(length) ||
           write(fd, config, length) != length;
}

static int open_new(const char *path, int flags)
{
    int fd = open(path, O_WRONLY | O_CREAT | flags, 0644);

    if (fd < 0 || write_head(fd)) {
        perror(path);
        exit(2);
    }
    return fd;
}

/* As xl does after libxl_domain_suspend. */
static int finish(int fd, int rc)
{
    close(fd);
    puts(rc ? "resume" : "destroy");
    return rc ? 1 : 0;
}

static int save(char **args)
{
    const char *live = getenv("FAKE_LIVE");
    int fd = open_new(args[0], O_TRUNC);

    return finish(fd,
                  libxl_domain_suspend(NULL, 1, fd,
                                       live ? LIBXL_SUSPEND_LIVE : 0, NULL));
}

static int save_watched(char **args)
{
    libxl_evgen_domain_death *death;
    int status;

    if (libxl_evenable_domain_death(NULL, 1, 5, &death))
        return 2;
    status = save(args);
    libxl_evdisable_domain_death(NULL, death);
    return status;
}

static int append(char **args)
{
    int fd = open_new(args[0], O_APPEND);

    return finish(fd, libxl_domain_suspend(NULL, 1, fd, 0, NULL));
}

static int save_on(char **args)
{
    int fd = atoi(args[0]), rc, out = dup(1), opened;

    opened = open_new(args[1], O_TRUNC);
    if (dup2(opened, fd) != fd)
        return 2;
    close(opened);
    rc = libxl_domain_suspend(NULL, 1, fd, 0, NULL);
    dup2(out, 1);
    return finish(fd == 1 ? out : fd, rc);
}

static int save_ao(char **args)
{
    int fd = open_new(args[0], O_TRUNC);
    int rc = libxl_domain_suspend(NULL, 1, fd, 0, &how);

    return finish(fd, rc ? rc : fake_run_events());
}

static int resume(char **args)
{
    return libxl_domain_resume(NULL, 1, atoi(args[0]), NULL);
}

static int remus(char **args)
{
    int fd = open_new(args[0], O_TRUNC);

    return finish(fd, libxl_domain_remus_start(NULL, NULL, 1, fd, -1, NULL));
}

static void *save_thread(void *path)
{
    int fd = open_new(path, O_TRUNC);
    int rc = libxl_domain_suspend(NULL, 1, fd, 0, NULL);

    close(fd);
    return (void *)(intptr_t)rc;
}

static int save_many(char **args)
{
    pthread_t threads[64];
    void *result;
    int n, rc = 0;

    for (n = 0; args[n] && n < 64; n++)
        pthread_create(&threads[n], NULL, save_thread, args[n]);
    while (n--) {
        pthread_join(threads[n], &result);
        if (result)
            rc = 1;
    }
    puts(rc ? "resume" : "destroy");
    return rc;
}

static int open_saved(const char *path)
{
    struct xensave_v2_xl_header header;
    char *config;
    int fd = open(path, O_RDONLY);

    if (fd < 0 || read(fd, &header, sizeof(header)) != sizeof(header)) {
        perror(path);
        exit(2);
    }
    config = malloc(header.optional_data_len);
    if (read(fd, config, header.optional_data_len) != header.optional_data_len)
        exit(2);
    free(config);
    return fd;
}

static int create(const char *path, int type, const libxl_asyncop_how *ao)
{
    libxl_domain_restore_params params = {
        .stream_version = 2,
        .checkpointed_stream = type,
    };
    uint32_t domid = 0;
    int rc;

    rc = libxl_domain_create_restore(NULL, NULL, &domid, open_saved(path), -1,
                                     &params, ao, NULL);
    if (rc && domid != (uint32_t)INVALID_DOMID)
        puts("there is a domain");
    if (ao && !rc)
        rc = fake_run_events();
    puts(rc ? "failed" : "created");
    return rc ? 1 : 0;
}

static int restore(char **args)
{
    return create(args[0], 0, NULL);
}

/*
 * As libvirt restores what `virsh managedsave` wrote.  A second FILE has the
 * name meanwhile.  FAKE_LINGER: it does not exit, as a daemon does not.
 */
static int restore_managed(char **args)
{
    libxl_domain_restore_params params = { .stream_version = 2 };
    int fd = open_saved(args[0]), rc;
    uint32_t domid = 0;

    if (unlink(args[0]) || (args[1] && link(args[1], args[0])))
        return 2;
    rc = libxl_domain_create_restore(NULL, NULL, &domid, fd, -1, &params, NULL,
                                     NULL);
    close(fd);
    if (getenv("FAKE_LINGER"))
        sleep(20);
    puts(rc ? "failed" : "created");
    return rc ? 1 : 0;
}

static int restore_ao(char **args)
{
    return create(args[0], 0, &how);
}

static int restore_remus(char **args)
{
    return create(args[0], 1, NULL);
}

/* As the xl of Xen 4.17 does with the domain that it has created. */
static int monitor(char **args)
{
    libxl_evgen_domain_death *request;
    libxl_event *event;

    (void)args;
    if (libxl_evenable_domain_death(NULL, 1, 5, &request))
        return 2;
    while (!libxl_event_wait(NULL, &event, LIBXL_EVENTMASK_ALL, NULL, NULL)) {
        int reason = event->u.domain_shutdown.shutdown_reason;

        if (event->domid != 1 || event->for_user != 5)
            return 2;
        if (event->type == LIBXL_EVENT_TYPE_DOMAIN_DEATH) {
            puts("destroyed");
            return 0;
        }
        libxl_event_free(NULL, event);
        if (reason == LIBXL_SHUTDOWN_REASON_SUSPEND) {
            puts("suspended, exiting");
            return 0;
        }
        libxl_evdisable_domain_death(NULL, request);
        printf("reason %d, %d requests\n", reason, fake_requests());
        return 0;
    }
    puts("waiting");
    return 0;
}

static int noop(char **args)
{
    (void)args;
    return system("env > \"$FAKE_DIR/noop-env\"");
}

#ifdef API
static int api_save(char **args)
{
    xl_aligned_options opts;
    int fd = open_new(args[0], O_TRUNC), rc;

    if (xl_aligned_options_init(&opts, NULL))
        return 2;
    opts.commit_name = args[1] ? strdup(args[1]) : NULL;
    rc = xl_aligned_domain_suspend(NULL, 1, fd, 0, &opts, NULL);
    xl_aligned_options_dispose(&opts);
    return finish(fd, rc);
}

static int api_async(char **args)
{
    int fd = open_new(args[0], O_TRUNC);
    int rc = xl_aligned_domain_suspend(NULL, 1, fd, 0, NULL, &how);

    if (!rc)
        rc = xl_aligned_suspend_complete(fd, fake_run_events());
    return finish(fd, rc);
}

static int api_restore(char **args)
{
    libxl_domain_restore_params params = { .stream_version = 2 };
    struct xensave_file savefile;
    struct xensave_error error;
    int fd = open_saved(args[0]), rc;
    uint32_t domid;

    rc = xl_aligned_probe(fd, UINT64_MAX, &savefile, &error);
    printf("probe: %d %d %s\n", rc, savefile.format, error.text);
    rc = xl_aligned_domain_create_restore(NULL, NULL, &domid, fd, -1, &params,
                                          NULL, NULL, NULL);
    puts(rc ? "failed" : "created");
    return rc ? 1 : 0;
}
#endif

static const struct {
    const char *name;
    int (*run)(char **args);
} commands[] = {
    { "save", save },
    { "save-on", save_on },
    { "save-ao", save_ao },
    { "append", append },
    { "remus", remus },
    { "resume", resume },
    { "save-many", save_many },
    { "save-watched", save_watched },
    { "restore", restore },
    { "restore-managed", restore_managed },
    { "restore-ao", restore_ao },
    { "restore-remus", restore_remus },
    { "noop", noop },
    { "monitor", monitor },
#ifdef API
    { "api-save", api_save },
    { "api-async", api_async },
    { "api-restore", api_restore },
#endif
};

int main(int argc, char **argv)
{
    libxl_ctx *ctx;
    size_t i;

    if (libxl_ctx_alloc(&ctx, LIBXL_VERSION, 0, NULL))
        return 2;
    for (i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (!strcmp(argv[1], commands[i].name))
            return commands[i].run(argv + 2);
    }
    return 2;
}
