/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stands in for libxenlight where there is no Xen: of libxl it does what the
 * plugin can see.  It writes libxl's own records, starts a save helper with
 * the arguments of the real one, starts a script, and keeps a log.  FAKE_DIR
 * is where the log and the script's environment go.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <endian.h>

#include <libxl.h>

#include "xensave-format.h"
#include "fake.h"

#define STREAM_HEAD                                                           \
    {                                                                         \
        htobe64(XENSAVE_V2_LIBXL_IDENT), htobe32(XENSAVE_V2_LIBXL_VERSION), 0 \
    }

/* FAKE_SUSPENDED: from the beginning. */
static bool suspended;

static void fake_log(const char *fmt, ...)
{
    char path[4096], line[512];
    va_list al;
    int fd, length;

    va_start(al, fmt);
    length = vsnprintf(line, sizeof(line), fmt, al);
    va_end(al);
    snprintf(path, sizeof(path), "%s/log", getenv("FAKE_DIR"));
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd < 0 || write(fd, line, length) != length)
        abort();
    close(fd);
}

static int child_status(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return -1;
    }
    return status;
}

/* As a hotplug script is started: with the environment of the toolstack. */
static void run_script(void)
{
    char *argv[] = { "sh", "-c", "env > \"$FAKE_DIR/script-env\"", NULL };
    pid_t pid = fork();

    if (!pid) {
        execvp(argv[0], argv);
        _exit(127);
    }
    child_status(pid);
}

static int run_helper(const char *mode, int fd, int arguments, int stream_type)
{
    char *argv[12] = { getenv("LIBXL_SAVE_HELPER"), (char *)mode };
    char fd_text[16], type_text[16];
    int i, status;
    pid_t pid;

    snprintf(type_text, sizeof(type_text), "%d", stream_type);
    pid = fork();
    if (!pid) {
        if (fd <= 2)
            fd = dup(fd);
        fcntl(fd, F_SETFD, 0);
        snprintf(fd_text, sizeof(fd_text), "%d", fd);
        argv[2] = fd_text;
        argv[3] = "-1";
        /* The domain. */
        argv[4] = strcmp(mode, "--save-domain") ? "7" : "1";
        for (i = 5; i < arguments - 1; i++)
            argv[i] = "0";
        argv[i++] = type_text;
        argv[i] = NULL;
        /* The control channel. */
        dup2(open("/dev/null", O_RDONLY), 0);
        dup2(open("/dev/null", O_WRONLY), 1);
        if (getenv("FAKE_NO_ENVIRON"))
            clearenv();
        execvp(argv[0], argv);
        fprintf(stderr, "fake: %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    status = child_status(pid);
    fake_log("helper %s fd=%d type=%d status=%d\n", mode, fd, stream_type,
             status);
    return status ? ERROR_FAIL : 0;
}

static int save(int fd, int stream_type)
{
    const struct xensave_v2_libxl_header header = STREAM_HEAD;
    const struct xensave_v2_record_header context = { XENSAVE_V2_LIBXL_CONTEXT,
                                                      0 };
    const struct xensave_v2_record_header end = { 0 };
    char tail[4096], path[4096];
    ssize_t length;
    int file, rc;

    if (write(fd, &header, sizeof(header)) != sizeof(header) ||
        write(fd, &context, sizeof(context)) != sizeof(context))
        return ERROR_FAIL;
    suspended = true;
    rc = run_helper("--save-domain", fd, 8, stream_type);
    if (rc)
        return rc;

    /* The emulator's records, of a file, and END. */
    snprintf(path, sizeof(path), "%s/tail", getenv("FAKE_DIR"));
    file = open(path, O_RDONLY);
    if (file < 0)
        abort();
    length = read(file, tail, sizeof(tail));
    close(file);
    if (length < 0 || write(fd, tail, length) != length ||
        write(fd, &end, sizeof(end)) != sizeof(end))
        return ERROR_FAIL;
    return 0;
}

static int restore(int fd, int stream_type)
{
    struct {
        struct xensave_v2_libxl_header header;
        struct xensave_v2_record_header context;
    } head;
    char path[4096], tail[4096];
    ssize_t length;
    FILE *out;
    int rc;

    if (read(fd, &head, sizeof(head)) != sizeof(head) ||
        be64toh(head.header.ident) != XENSAVE_V2_LIBXL_IDENT)
        return ERROR_FAIL;
    rc = run_helper("--restore-domain", fd, 11, stream_type);
    if (rc)
        return rc;
    snprintf(path, sizeof(path), "%s/restored-tail", getenv("FAKE_DIR"));
    out = fopen(path, "w");
    while (out && (length = read(fd, tail, sizeof(tail))) > 0)
        fwrite(tail, 1, length, out);
    return out && !fclose(out) ? 0 : ERROR_FAIL;
}

/* ---- libxl -------------------------------------------------------------- */

/* An operation with ao_how runs when the toolstack lets events happen. */
static struct {
    int (*run)(int fd, int stream_type);
    int fd;
    int stream_type;
} deferred;

static int start(int (*run)(int, int), int fd, int stream_type,
                 const libxl_asyncop_how *ao_how)
{
    if (!ao_how)
        return run(fd, stream_type);
    deferred.run = run;
    deferred.fd = fd;
    deferred.stream_type = stream_type;
    return 0;
}

int fake_run_events(void)
{
    return deferred.run(deferred.fd, deferred.stream_type);
}

int libxl_ctx_alloc(libxl_ctx **pctx, int version, unsigned flags,
                    xentoollog_logger *lg)
{
    (void)flags;
    (void)lg;
    *pctx = NULL;
    suspended = getenv("FAKE_SUSPENDED");
    return version == LIBXL_VERSION ? 0 : ERROR_VERSION;
}

int libxl_domain_suspend(libxl_ctx *ctx, uint32_t domid, int fd, int flags,
                         const libxl_asyncop_how *ao_how)
{
    (void)ctx;
    fake_log("suspend domid=%u flags=%d ao=%d\n", domid, flags, !!ao_how);
    run_script();
    return start(save, fd, 0, ao_how);
}

/* libxenguest's; the program's preload may be in front of it. */
int xc_domain_resume(void *xch, uint32_t domid, int fast)
{
    (void)xch;
    fake_log("xc_domain_resume domid=%u fast=%d\n", domid, fast);
    return 0;
}

/* CANCEL_LOST: as with Xen 4.14, of a PV or PVH domain. */
int libxl_domain_resume(libxl_ctx *ctx, uint32_t domid, int suspend_cancel,
                        const libxl_asyncop_how *ao_how)
{
    (void)ctx;
    (void)ao_how;
    fake_log("resume domid=%u cancel=%d\n", domid, suspend_cancel);
    suspended = false;
#ifdef CANCEL_LOST
    suspend_cancel = 0;
#endif
    /* Another domain's, as of COLO. */
    xc_domain_resume(NULL, domid + 1, 0);
    return xc_domain_resume(NULL, domid, suspend_cancel);
}

int libxl_domain_remus_start(libxl_ctx *ctx, libxl_domain_remus_info *info,
                             uint32_t domid, int send_fd, int recv_fd,
                             const libxl_asyncop_how *ao_how)
{
    (void)ctx;
    (void)info;
    (void)recv_fd;
    fake_log("remus domid=%u\n", domid);
    return start(save, send_fd, 1, ao_how);
}

int libxl_domain_create_restore(libxl_ctx *ctx, libxl_domain_config *d_config,
                                uint32_t *domid, int restore_fd,
                                int send_back_fd,
                                const libxl_domain_restore_params *params,
                                const libxl_asyncop_how *ao_how,
                                const libxl_asyncprogress_how *aop)
{
    int rc;

    (void)ctx;
    (void)d_config;
    (void)send_back_fd;
    (void)aop;
    fake_log("create_restore ao=%d type=%d\n", !!ao_how,
             params->checkpointed_stream);
    *domid = 7;
    rc = start(restore, restore_fd, params->checkpointed_stream, ao_how);
    if (rc)
        *domid = INVALID_DOMID;
    return rc;
}

/* FAKE_CONFIG: what it would say. */
char *libxl_domain_config_to_json(libxl_ctx *ctx,
                                  libxl_domain_config *d_config)
{
    const char *config = getenv("FAKE_CONFIG");

    (void)ctx;
    (void)d_config;
    return config ? strdup(config) : NULL;
}

/* Of another version, where its headers would say otherwise. */
#ifndef DOMINFO_SIZE
#define DOMINFO_SIZE sizeof(libxl_dominfo)
#define DOMINFO_TYPE offsetof(libxl_dominfo, domain_type)
#endif

static void set_domain_type(libxl_dominfo *info, libxl_domain_type type)
{
    memcpy((char *)info + DOMINFO_TYPE, &type, sizeof(type));
}

int libxl_domain_info(libxl_ctx *ctx, libxl_dominfo *info, uint32_t domid)
{
    const char *memory = getenv("FAKE_MEMKB");

    (void)ctx;
    (void)domid;
    info->shutdown = suspended;
    info->shutdown_reason = suspended ? LIBXL_SHUTDOWN_REASON_SUSPEND
                                      : LIBXL_SHUTDOWN_REASON_UNKNOWN;
    memcpy(&info->uuid,
           "\x01\x23\x45\x67\x89\xab\xcd\xef"
           "FEDCBA98",
           16);
    info->vcpu_online = 2;
    info->current_memkb = memory ? strtoull(memory, NULL, 0) : 1024;
    set_domain_type(info, getenv("FAKE_PV") ? LIBXL_DOMAIN_TYPE_PV
                                            : LIBXL_DOMAIN_TYPE_PVH);
    return 0;
}

/* FAKE_NAME; without it, neither name nor version is known. */
char *libxl_domid_to_name(libxl_ctx *ctx, uint32_t domid)
{
    const char *name = getenv("FAKE_NAME");

    (void)ctx;
    (void)domid;
    return name ? strdup(name) : NULL;
}

const libxl_version_info *libxl_get_version_info(libxl_ctx *ctx)
{
    static const libxl_version_info info = {
        .xen_version_major = 4,
        .xen_version_minor = 17,
        .xen_version_extra = ".7-pre",
    };

    (void)ctx;
    return getenv("FAKE_NAME") ? &info : NULL;
}

int libxl_get_physinfo(libxl_ctx *ctx, libxl_physinfo *physinfo)
{
    (void)ctx;
    physinfo->cap_shadow = getenv("FAKE_SHADOW") != NULL;
    return 0;
}

void libxl_physinfo_init(libxl_physinfo *physinfo)
{
    memset(physinfo, 0, sizeof(*physinfo));
}

void libxl_physinfo_dispose(libxl_physinfo *physinfo)
{
    (void)physinfo;
}

void libxl_dominfo_init(libxl_dominfo *info)
{
    memset(info, 0, DOMINFO_SIZE);
    set_domain_type(info, LIBXL_DOMAIN_TYPE_INVALID);
}

void libxl_dominfo_dispose(libxl_dominfo *info)
{
    memset(info, 0, DOMINFO_SIZE);
}

/* ---- events ------------------------------------------------------------- */

/*
 * FAKE_EVENTS: a letter for each thing that happens to the domain: s(uspended),
 * r(eboots), c(rashes), d(estroyed), and o(ther domain: libxl looks at all).
 */
struct libxl__evgen_domain_death {
    int number;
    uint32_t domid;
    libxl_ev_user user;
    bool shutdown_reported, death_reported;
    libxl_evgen_domain_death *next;
};

static libxl_evgen_domain_death *requests;
static libxl_event *queue[16];
static int queued;

int fake_requests(void)
{
    libxl_evgen_domain_death *request;
    int n = 0;

    for (request = requests; request; request = request->next)
        n++;
    return n;
}

int libxl_evenable_domain_death(libxl_ctx *ctx, uint32_t domid,
                                libxl_ev_user user,
                                libxl_evgen_domain_death **request)
{
    static int number;

    (void)ctx;
    *request = calloc(1, sizeof(**request));
    (*request)->number = ++number;
    fake_log("evenable domid=%u user=%d number=%d\n", domid, (int)user,
             number);
    (*request)->domid = domid;
    (*request)->user = user;
    (*request)->next = requests;
    requests = *request;
    return 0;
}

void libxl_evdisable_domain_death(libxl_ctx *ctx,
                                  libxl_evgen_domain_death *request)
{
    libxl_evgen_domain_death **link;

    (void)ctx;
    fake_log("evdisable number=%d\n", request->number);
    for (link = &requests; *link != request; link = &(*link)->next)
        ;
    *link = request->next;
    free(request);
}

static void look(libxl_event_type type, int reason)
{
    libxl_evgen_domain_death *request;
    bool death = type == LIBXL_EVENT_TYPE_DOMAIN_DEATH, *reported;

    for (request = requests; request; request = request->next) {
        reported = death ? &request->death_reported
                         : &request->shutdown_reported;
        if (*reported)
            continue;
        *reported = true;
        queue[queued] = calloc(1, sizeof(libxl_event));
        queue[queued]->type = type;
        queue[queued]->domid = request->domid;
        queue[queued]->for_user = request->user;
        queue[queued++]->u.domain_shutdown.shutdown_reason = reason;
    }
}

int libxl_event_wait(libxl_ctx *ctx, libxl_event **event, uint64_t typemask,
                     libxl_event_predicate *predicate, void *user)
{
    static const char *next;
    static int reason;

    (void)ctx;
    (void)typemask;
    (void)predicate;
    (void)user;
    if (!next)
        next = getenv("FAKE_EVENTS");
    while (!queued) {
        if (!*next)
            return ERROR_FAIL;
        reason = *next == 's'   ? LIBXL_SHUTDOWN_REASON_SUSPEND
                 : *next == 'r' ? LIBXL_SHUTDOWN_REASON_REBOOT
                 : *next == 'c' ? LIBXL_SHUTDOWN_REASON_CRASH
                                : reason;
        look(*next++ == 'd' ? LIBXL_EVENT_TYPE_DOMAIN_DEATH
                            : LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN,
             reason);
    }
    *event = queue[0];
    memmove(queue, queue + 1, --queued * sizeof(*queue));
    return 0;
}

void libxl_event_free(libxl_ctx *ctx, libxl_event *event)
{
    (void)ctx;
    free(event);
}

/* What libxlutil, which is the real one, wants to find. */
void libxl_defbool_set(libxl_defbool *defbool, bool value)
{
    defbool->val = value ? 1 : -1;
}

int libxl_rdm_reserve_policy_from_string(const char *text,
                                         libxl_rdm_reserve_policy *policy)
{
    (void)text;
    (void)policy;
    return ERROR_FAIL;
}
