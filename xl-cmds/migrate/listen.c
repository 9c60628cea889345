/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xl-aligned listen: options and setup. */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listener.h"
#include "session.h"

#define SYSTEMD_FIRST 3 /* sd_listen_fds(3) */
#define CONNECTIONS   64
#define DOMAINS       4
#define HANDSHAKE_S   10
#define STALL_S       300

static int add_socket(struct listener *listener, int fd,
                      const struct carrier *carrier)
{
    if (listener->socket_count == SOCKETS_MAX) {
        report("at most %d sockets", SOCKETS_MAX);
        return STATUS_FAILED;
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    listener->sockets[listener->socket_count++] = (struct listening){
        fd, carrier
    };
    return STATUS_OK;
}

/* Sockets opened by systemd: UNIX, TLS, or TCP with --insecure. */
static int add_systemd(struct listener *listener)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    int i, domain, status = STATUS_OK;
    socklen_t length;

    if (!pid || !count || strtol(pid, NULL, 10) != getpid() ||
        atoi(count) < 1) {
        report("systemd has handed over no socket: LISTEN_PID, LISTEN_FDS");
        return STATUS_FAILED;
    }
    for (i = 0; i < atoi(count) && status == STATUS_OK; i++) {
        length = sizeof(domain);
        if (getsockopt(SYSTEMD_FIRST + i, SOL_SOCKET, SO_DOMAIN, &domain,
                       &length) < 0) {
            report("file descriptor %d of systemd: %s", SYSTEMD_FIRST + i,
                   strerror(errno));
            return STATUS_FAILED;
        }
        status = add_socket(listener, SYSTEMD_FIRST + i,
                            domain == AF_UNIX            ? &carrier_unix
                            : listener->options.insecure ? &carrier_tcp
                                                         : &carrier_tls);
    }
    return status;
}

static int add_address(struct listener *listener, const char *address)
{
    const struct carrier *carrier;
    const char *rest;
    char why[512];
    int fd;

    carrier = carrier_find(address, true, &rest);
    if (!carrier)
        return STATUS_USAGE;
    fd = carrier->listen(rest, &listener->options, why, sizeof(why));
    if (fd < 0) {
        report("%s", why);
        return STATUS_FAILED;
    }
    return add_socket(listener, fd, carrier);
}

static bool is_no_user(const char *entry)
{
    const char *number = entry + strlen(ALLOW_UID);

    return !strncmp(entry, ALLOW_UID, strlen(ALLOW_UID)) &&
           (!number[0] || number[strspn(number, "0123456789")]);
}

/* Refuses uid: entries without a number. */
static int check_users(const struct listener *listener)
{
    int i;

    for (i = 0; i < listener->given.argc; i++) {
        if (is_no_user(listener->given.argv[i])) {
            report("--allow=%s is not " ALLOW_UID " and a number: `id -u "
                   "NAME` prints that of a user",
                   listener->given.argv[i]);
            return STATUS_USAGE;
        }
    }
    return STATUS_OK;
}

/* The user of sessions, and whether their system calls can be filtered. */
static int confine(struct listener *listener)
{
    const char *name = listener->user ? listener->user : SESSION_USER;
    const struct passwd *user;

    listener->confine = sandbox_supported();
    if (!listener->confine)
        report("warning: no seccomp filters here (%s): what talks to peers "
               "may make any system call",
               strerror(errno));
    if (geteuid() != 0)
        return STATUS_OK;
    user = getpwnam(name);
    if (!user && !listener->user) {
        report("warning: no user " SESSION_USER ", which systemd-sysusers "
               "creates: what talks to peers runs as nobody");
        user = getpwnam("nobody");
    }
    if (!user || !user->pw_uid) {
        report("%s is %s; --user names the user for the connection processes",
               name, user ? "root" : "not a user");
        return STATUS_FAILED;
    }
    listener->uid = user->pw_uid;
    listener->gid = user->pw_gid;
    return STATUS_OK;
}

static int set_up(struct listener *listener, char **addresses)
{
    const struct environment settings = { 0 };
    int status = STATUS_OK;

    listener->program = xl_program();
    if (!listener->program)
        return STATUS_NO_XL;
    /* Without the plugin, xl only reads v2. */
    if (!plugin_environment(&settings))
        listener->format = "v2";
    listener->options.owner = geteuid();
    if (listener->systemd)
        status = add_systemd(listener);
    /* Meant for this program, not for xl. */
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    unsetenv("NOTIFY_SOCKET");
    for (; *addresses && status == STATUS_OK; addresses++)
        status = add_address(listener, *addresses);
    if (status == STATUS_OK)
        status = check_users(listener);
    if (status == STATUS_OK)
        status = credentials_load(listener);
    if (status == STATUS_OK)
        status = confine(listener);
    return status;
}

static int take_number(const struct command *self, const char *value,
                       unsigned *number)
{
    char *end;
    unsigned long given = strtoul(value, &end, 10);

    if (*end || !given || given > 4096)
        return command_misuse(self, "%s is not a number from 1 to 4096",
                              value);
    *number = given;
    return STATUS_OK;
}

static int take_option(const struct command *self, struct listener *listener,
                       int opt)
{
    switch (opt) {
    case OPTION_ALLOW:
        arguments_add(&listener->given, optarg);
        return STATUS_OK;
    case OPTION_ALLOW_FILE:
        arguments_add(&listener->files, optarg);
        return STATUS_OK;
    case OPTION_SYSTEMD:
        listener->systemd = true;
        return STATUS_OK;
    case OPTION_STOCK:
        listener->stock = true;
        return STATUS_OK;
    case OPTION_USER:
        listener->user = optarg;
        return STATUS_OK;
    case OPTION_CONNECTIONS:
        return take_number(self, optarg, &listener->connections);
    case OPTION_DOMAINS:
        return take_number(self, optarg, &listener->domains);
    case OPTION_DOMAINS_EACH:
        return take_number(self, optarg, &listener->domains_each);
    case OPTION_STALL:
        return take_number(self, optarg, &listener->stall_seconds);
    case OPTION_TIMEOUT:
        return take_number(self, optarg, &listener->handshake_seconds);
    default:
        carrier_option(opt, optarg, &listener->options);
        return STATUS_OK;
    }
}

static int listen_run(const struct command *self, int argc, char **argv)
{
    static struct listener listener = {
        .connections = CONNECTIONS,
        .domains = DOMAINS,
        .handshake_seconds = HANDSHAKE_S,
        .stall_seconds = STALL_S,
    };
    int opt, status;

    /* SIGHUP would only reload what is about to be loaded. */
    signal(SIGHUP, SIG_IGN);
    while ((opt = command_option(self, argc, argv, &status)) != -1) {
        if (opt == OPTION_DONE)
            return status;
        status = take_option(self, &listener, opt);
        if (status)
            return status;
    }
    if (optind == argc && !listener.systemd)
        return command_misuse(self, "expected ADDRESS...");
    /* A single sender must not lock out the others. */
    if (!listener.domains_each)
        listener.domains_each = listener.domains > 1 ? listener.domains - 1
                                                     : 1;
    setlinebuf(stderr);
    status = set_up(&listener, argv + optind);
    return status ? status : listener_serve(&listener);
}

/* clang-format off */
const struct command command_listen = {
    .name = "listen",
    .arguments = "[OPTION...] ADDRESS...",
    .summary = "Receive domains that migrate to this host",
    .details =
        "ADDRESS is one of tls:HOST[:PORT], unix:PATH, tcp:HOST[:PORT]; the\n"
        "port is " DEFAULT_PORT ", and HOST * every address of this host.\n"
        "\n"
        "  --allow=SUBJECT        of a certificate that may connect: a DNS\n"
        "                         name, an IP address, a whole subject\n"
        "                         (CN=a,O=b), or *; it is root here then: xl\n"
        "                         does what a domain's configuration says\n"
        "  --allow=uid:NUMBER     a user who may connect to UNIX sockets\n"
        "  --allow-file=FILE      of such subjects, one a line\n"
        TLS_HELP
        "  --insecure             plain TCP from other hosts too: whoever can reach\n"
        "                         the port is root here then\n"
        "  --stock                take silence for a stock xl on plain TCP\n"
        "                         too\n"
        "  --systemd              on the sockets that systemd hands over\n"
        "  --connections=N        at most so many that are shaking hands (64)\n"
        "  --domains=N            at most so many that are arriving (4)\n"
        "  --domains-each=N       of them from one TLS subject (one less, to\n"
        "                         leave room for others)\n"
        "  --handshake-timeout=S  seconds for TLS and HELLO (10)\n"
        "  --stall-timeout=S      seconds that a sender may be silent (300)\n"
        "  --user=USER            user for the connection processes ("  SESSION_USER ")\n"
        "\n"
        "Exit status: 0 ended by SIGTERM, 1 it cannot listen, 127 there is no "
        "xl.\n"
        "\n",
    .short_options = "",
    .long_options = (const struct option[]){
        TLS_OPTIONS,
        { "allow", required_argument, NULL, OPTION_ALLOW },
        { "allow-file", required_argument, NULL, OPTION_ALLOW_FILE },
        { "insecure", no_argument, NULL, OPTION_INSECURE },
        { "stock", no_argument, NULL, OPTION_STOCK },
        { "systemd", no_argument, NULL, OPTION_SYSTEMD },
        { "connections", required_argument, NULL, OPTION_CONNECTIONS },
        { "domains", required_argument, NULL, OPTION_DOMAINS },
        { "domains-each", required_argument, NULL, OPTION_DOMAINS_EACH },
        { "handshake-timeout", required_argument, NULL, OPTION_TIMEOUT },
        { "stall-timeout", required_argument, NULL, OPTION_STALL },
        { "user", required_argument, NULL, OPTION_USER },
        HELP_OPTION },
    .run = listen_run,
};
/* clang-format on */
