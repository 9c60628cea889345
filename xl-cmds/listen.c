/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xl-aligned listen: accepts connections, hands each to a session, and starts
 * xl for those that ask for it.  Peers have no part in anything here.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "listener.h"
#include "transport/options.h"

#define SOCKETS_MAX     16
#define SYSTEMD_FIRST   3       /* sd_listen_fds(3) */
#define CONNECTIONS     64
#define DOMAINS         4
#define HANDSHAKE_S     10

struct listening {
    int fd;
    const struct transport *transport;
};

/* One process: a session, or the xl that was started for one. */
struct child {
    pid_t pid;
    bool is_xl;
    bool agreed;                /* sessions: past the handshake */
    int control;                /* sessions: -1 once closed */
    uint64_t order;
    char peer[160];
};

struct listener {
    struct listening sockets[SOCKETS_MAX];
    size_t socket_count;
    bool systemd;
    struct transport_options options;
    char **allow;               /* ends with NULL */
    size_t allow_count;
    const char *format;
    const char *user;
    uid_t uid;
    gid_t gid;
    unsigned connections, domains, handshake_seconds;
    bool stock;                 /* also over TCP, where anybody may come */
    const char *program;
    struct child *children;
    size_t child_count, child_room;
    uint64_t accepted;
};

static volatile sig_atomic_t ending;

static void on_signal(int signum)
{
    if (signum != SIGCHLD)
        ending = 1;
}

/* ---- children ---------------------------------------------------------- */

static struct child *child_add(struct listener *listener, pid_t pid,
                               bool is_xl, const char *peer)
{
    struct child *child;

    if (listener->child_count == listener->child_room) {
        listener->child_room = 2 * listener->child_room + 16;
        listener->children = xrealloc(listener->children,
                                      listener->child_room * sizeof(*child));
    }
    child = &listener->children[listener->child_count++];
    memset(child, 0, sizeof(*child));
    child->pid = pid;
    child->is_xl = is_xl;
    child->control = -1;
    snprintf(child->peer, sizeof(child->peer), "%s", peer);
    return child;
}

static unsigned count_xl(const struct listener *listener)
{
    unsigned count = 0;
    size_t i;

    for (i = 0; i < listener->child_count; i++)
        count += listener->children[i].is_xl;
    return count;
}

static void child_ended(struct listener *listener, struct child *child,
                        int status)
{
    if (child->is_xl && WIFEXITED(status))
        report("%s: xl ended with status %d", child->peer,
               WEXITSTATUS(status));
    else if (WIFSIGNALED(status))
        report("%s: %s was killed by signal %d", child->peer,
               child->is_xl ? "xl" : "the session", WTERMSIG(status));
    if (child->control >= 0)
        close(child->control);
    *child = listener->children[--listener->child_count];
}

static void reap(struct listener *listener)
{
    int status;
    pid_t pid;
    size_t i;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (i = 0; i < listener->child_count; i++) {
            if (listener->children[i].pid == pid) {
                child_ended(listener, &listener->children[i], status);
                break;
            }
        }
    }
}

/*
 * Too many at once: the one that has been shaking hands for longest goes.  An
 * honest one needs a fraction of a second and is not it.
 */
static void make_room(struct listener *listener)
{
    struct child *oldest = NULL;
    unsigned shaking = 0;
    size_t i;

    for (i = 0; i < listener->child_count; i++) {
        struct child *child = &listener->children[i];

        if (child->is_xl || child->agreed)
            continue;
        shaking++;
        if (!oldest || child->order < oldest->order)
            oldest = child;
    }
    if (!oldest || shaking < listener->connections)
        return;
    report("%s: refused: %u connections are shaking hands, and this one for "
           "longest", oldest->peer, shaking);
    kill(oldest->pid, SIGKILL);
    waitpid(oldest->pid, NULL, 0);
    child_ended(listener, oldest, 0);
}

/* ---- xl ---------------------------------------------------------------- */

static void become_xl(const struct listener *listener, uint32_t request,
                      const char *peer, int in, int out)
{
    struct arguments xl = { 0 };
    sigset_t none;

    arguments_add(&xl, "xl");
    arguments_add(&xl, "migrate-receive");
    if (request & V3_HELLO_STAY)
        arguments_add(&xl, "-e");
    if (request & V3_HELLO_DEBUG)
        arguments_add(&xl, "-d");
    if (request & V3_HELLO_PAUSE)
        arguments_add(&xl, "-p");

    /* Neither a terminal's signals nor this program's end is xl's. */
    setsid();
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
        _exit(STATUS_FAILED);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    unsetenv("NOTIFY_SOCKET");
    setenv("XL_ALIGNED_PEER", peer, 1);
    _exit(become(listener->program, xl.argv));
}

/* Its stdin and stdout are pipes whose other ends go to the session. */
static pid_t start_xl(const struct listener *listener, uint32_t request,
                      const char *peer, int control)
{
    int in[2] = { -1, -1 }, out[2] = { -1, -1 }, i;
    pid_t pid = -1;

    if (pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0) {
        pid = fork();
        if (!pid)
            become_xl(listener, request, peer, in[0], out[1]);
    }
    if (pid > 0 && control_send_fds(control, (int[]){ out[0], in[1] }) < 0)
        report("the session is gone");
    for (i = 0; i < 2; i++) {
        if (in[i] >= 0)
            close(in[i]);
        if (out[i] >= 0)
            close(out[i]);
    }
    return pid;
}

static void answer(struct listener *listener, size_t index)
{
    struct child *child = &listener->children[index];
    struct session_request request;
    char peer[sizeof(child->peer)];
    ssize_t r;
    pid_t pid;

    r = recv(child->control, &request, sizeof(request), MSG_DONTWAIT);
    if (r != sizeof(request) || child->agreed) {
        /* Its end, or something that no session says. */
        close(child->control);
        child->control = -1;
        return;
    }
    child->agreed = true;
    request.peer[sizeof(request.peer) - 1] = '\0';
    v3_hello_printable(peer, sizeof(peer), request.peer,
                       strlen(request.peer));
    memcpy(child->peer, peer, sizeof(peer));
    if (count_xl(listener) >= listener->domains) {
        report("%s: refused: %u domains are arriving already", child->peer,
               listener->domains);
        send(child->control, "", 1, MSG_NOSIGNAL);
        return;
    }
    pid = start_xl(listener, request.request & V3_HELLO_REQUESTS, peer,
                   child->control);
    if (pid > 0)
        child_add(listener, pid, true, peer);
    else
        report("starting xl: %s", strerror(errno));
}

/* ---- connections ------------------------------------------------------- */

static void become_session(const struct listener *listener, int fd,
                           int control, const struct transport *transport,
                           const char *busy)
{
    const struct session session = {
        .fd = fd,
        .control = control,
        .transport = transport,
        .options = &listener->options,
        .format = listener->format,
        .handshake_seconds = listener->handshake_seconds,
        .accept_stock = transport->trusted || listener->stock,
        .busy = busy,
        .uid = listener->uid,
        .gid = listener->gid,
    };
    sigset_t none;
    size_t i;

    setsid();
    signal(SIGCHLD, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (i = 0; i < listener->socket_count; i++)
        close(listener->sockets[i].fd);
    for (i = 0; i < listener->child_count; i++) {
        if (listener->children[i].control >= 0)
            close(listener->children[i].control);
    }
    _exit(session_run(&session));
}

static void take_connection(struct listener *listener,
                            const struct listening *socket)
{
    int control[2], fd;
    struct child *child;
    struct link who = { .peer = "unix" };
    char busy[64];
    pid_t pid;

    fd = accept4(socket->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
            report("accept: %s", strerror(errno));
            usleep(100000);
        }
        return;
    }
    if (socket->transport != &transport_unix)
        tcp_name_peer(&who, fd);
    make_room(listener);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0) {
        report("%s: refused: %s", who.peer, strerror(errno));
        close(fd);
        return;
    }
    snprintf(busy, sizeof(busy), "%u domains are arriving already",
             listener->domains);
    pid = fork();
    if (!pid) {
        close(control[0]);
        become_session(listener, fd, control[1], socket->transport,
                       count_xl(listener) >= listener->domains ? busy :
                       NULL);
    }
    close(control[1]);
    close(fd);
    if (pid < 0) {
        report("%s: refused: fork: %s", who.peer, strerror(errno));
        close(control[0]);
        return;
    }
    child = child_add(listener, pid, false, who.peer);
    child->control = control[0];
    child->order = listener->accepted++;
}

/* ---- the loop ---------------------------------------------------------- */

static void one_round(struct listener *listener, const sigset_t *mask)
{
    size_t children = listener->child_count, i;
    size_t sockets = ending ? 0 : listener->socket_count;
    struct pollfd fds[sockets + children + 1];

    for (i = 0; i < sockets; i++)
        fds[i] = (struct pollfd){ .fd = listener->sockets[i].fd,
                                  .events = POLLIN };
    for (i = 0; i < children; i++)
        fds[sockets + i] = (struct pollfd){
            .fd = listener->children[i].control, .events = POLLIN };
    if (ppoll(fds, sockets + children, NULL, mask) > 0) {
        for (i = 0; i < children; i++) {
            if (fds[sockets + i].revents)
                answer(listener, i);
        }
        for (i = 0; i < sockets; i++) {
            if (fds[i].revents)
                take_connection(listener, &listener->sockets[i]);
        }
    }
    reap(listener);
}

static int serve(struct listener *listener)
{
    static const int signums[] = { SIGCHLD, SIGTERM, SIGINT };
    struct sigaction action = { .sa_handler = on_signal };
    sigset_t blocked, mask;
    size_t i;

    sigemptyset(&blocked);
    for (i = 0; i < sizeof(signums) / sizeof(signums[0]); i++) {
        sigaddset(&blocked, signums[i]);
        sigaction(signums[i], &action, NULL);
    }
    sigprocmask(SIG_BLOCK, &blocked, &mask);
    signal(SIGPIPE, SIG_IGN);
    for (i = 0; i < listener->socket_count; i++)
        fcntl(listener->sockets[i].fd, F_SETFL,
              fcntl(listener->sockets[i].fd, F_GETFL) | O_NONBLOCK);
    report("listening on %zu socket%s", listener->socket_count,
           listener->socket_count == 1 ? "" : "s");
    while (!ending)
        one_round(listener, &mask);
    for (i = 0; i < listener->socket_count; i++)
        close(listener->sockets[i].fd);
    /* What is arriving may arrive; who was only shaking hands goes. */
    for (i = 0; i < listener->child_count; i++) {
        if (!listener->children[i].is_xl && !listener->children[i].agreed)
            kill(listener->children[i].pid, SIGTERM);
    }
    if (count_xl(listener))
        report("waiting for %u domains that are arriving",
               count_xl(listener));
    while (listener->child_count)
        one_round(listener, &mask);
    return STATUS_OK;
}

/* ---- setting up -------------------------------------------------------- */

static void allow(struct listener *listener, const char *subject)
{
    listener->allow = xrealloc(listener->allow, (listener->allow_count + 2) *
                               sizeof(*listener->allow));
    listener->allow[listener->allow_count++] = xstrdup(subject);
    listener->allow[listener->allow_count] = NULL;
}

/* A subject a line; empty lines and those that begin with # aside. */
static int allow_file(struct listener *listener, const char *name)
{
    FILE *file = fopen(name, "re");
    char line[512];
    size_t length;

    if (!file) {
        report("%s: %s", name, strerror(errno));
        return STATUS_FAILED;
    }
    while (fgets(line, sizeof(line), file)) {
        length = strlen(line);
        while (length && strchr(" \t\r\n", line[length - 1]))
            line[--length] = '\0';
        if (length && line[0] != '#')
            allow(listener, line);
    }
    fclose(file);
    return STATUS_OK;
}

static int add_socket(struct listener *listener, int fd,
                      const struct transport *transport)
{
    if (listener->socket_count == SOCKETS_MAX) {
        report("at most %d sockets", SOCKETS_MAX);
        return STATUS_FAILED;
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    listener->sockets[listener->socket_count++] =
        (struct listening){ fd, transport };
    return STATUS_OK;
}

/* Sockets that systemd opened: TLS, or what it is if that is insecure. */
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
                            domain == AF_UNIX ? &transport_unix :
                            listener->options.insecure ? &transport_tcp :
                            &transport_tls);
    }
    return status;
}

static int add_address(struct listener *listener, const char *address)
{
    const struct transport *transport;
    const char *rest;
    char why[512];
    int fd;

    transport = transport_find(address, true, &rest);
    if (!transport) {
        report("%s is none of tls:HOST[:PORT], unix:PATH, tcp:HOST[:PORT]",
               address);
        return STATUS_USAGE;
    }
    fd = transport->listen(rest, &listener->options, why, sizeof(why));
    if (fd < 0) {
        report("%s", why);
        return STATUS_FAILED;
    }
    return add_socket(listener, fd, transport);
}

/* Certificates are read here, once, by who may. */
static int prepare(struct listener *listener)
{
    bool prepared = false;
    char why[512];
    size_t i;

    listener->options.allow = (const char *const *)listener->allow;
    for (i = 0; i < listener->socket_count; i++) {
        if (!listener->sockets[i].transport->prepare || prepared)
            continue;
        if (!listener->allow_count) {
            report("who may connect? --allow=NAME, or --allow='*' for every "
                   "certificate of the authority");
            return STATUS_USAGE;
        }
        if (listener->sockets[i].transport->prepare(&listener->options, true,
                                                    why, sizeof(why)) < 0) {
            report("%s", why);
            return STATUS_FAILED;
        }
        prepared = true;
    }
    return STATUS_OK;
}

static int find_user(struct listener *listener)
{
    const struct passwd *user;

    if (geteuid() != 0)
        return STATUS_OK;
    user = getpwnam(listener->user);
    if (!user) {
        report("no user %s: --user says as whom to talk to peers",
               listener->user);
        return STATUS_FAILED;
    }
    listener->uid = user->pw_uid;
    listener->gid = user->pw_gid;
    return STATUS_OK;
}

static int set_up(struct listener *listener, char **addresses)
{
    const struct plugin_settings settings = { 0 };
    int status = STATUS_OK;

    listener->program = xl_program();
    if (!listener->program)
        return STATUS_NO_XL;
    /* Without the plugin, xl reads what it always did. */
    if (!plugin_environment(&settings))
        listener->format = "v2";
    if (listener->systemd)
        status = add_systemd(listener);
    for (; *addresses && status == STATUS_OK; addresses++)
        status = add_address(listener, *addresses);
    if (status == STATUS_OK)
        status = prepare(listener);
    if (status == STATUS_OK)
        status = find_user(listener);
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

static int take_option(const struct command *self,
                       struct listener *listener, int opt)
{
    switch (opt) {
    case OPTION_ALLOW:
        allow(listener, optarg);
        return STATUS_OK;
    case OPTION_ALLOW_FILE:
        return allow_file(listener, optarg);
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
    case OPTION_TIMEOUT:
        return take_number(self, optarg, &listener->handshake_seconds);
    default:
        transport_option(opt, optarg, &listener->options);
        return STATUS_OK;
    }
}

static int listen_run(const struct command *self, int argc, char **argv)
{
    static struct listener listener = {
        .user = "nobody",
        .connections = CONNECTIONS,
        .domains = DOMAINS,
        .handshake_seconds = HANDSHAKE_S,
    };
    int opt, status;

    while ((opt = command_option(self, argc, argv, &status)) != -1) {
        if (opt == OPTION_DONE)
            return status;
        status = take_option(self, &listener, opt);
        if (status)
            return status;
    }
    if (optind == argc && !listener.systemd)
        return command_misuse(self, "on which address?");
    setlinebuf(stderr);
    status = set_up(&listener, argv + optind);
    return status ? status : serve(&listener);
}

const struct command command_listen = {
    .name = "listen",
    .arguments = "[OPTION...] ADDRESS...",
    .summary = "Receive domains that migrate to this host",
    .details =
        "ADDRESS is one of tls:HOST[:PORT], unix:PATH, tcp:HOST[:PORT]; the\n"
        "port is " DEFAULT_PORT ", and HOST * every address of this host.\n"
        "\n"
        "  --allow=SUBJECT        of a certificate that may connect: a DNS\n"
        "                         name, a whole subject (CN=a,O=b), or *\n"
        "  --allow-file=FILE      of such subjects, one a line\n"
        TLS_HELP
        "  --insecure             plain TCP from other hosts too\n"
        "  --stock                take silence for a stock xl on plain TCP\n"
        "                         too\n"
        "  --systemd              on the sockets that systemd hands over\n"
        "  --connections=N        at most so many that are shaking hands (64)\n"
        "  --domains=N            at most so many that are arriving (4)\n"
        "  --handshake-timeout=S  seconds for TLS and HELLO (10)\n"
        "  --user=USER            as whom to talk to peers (nobody)\n"
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
        { "handshake-timeout", required_argument, NULL, OPTION_TIMEOUT },
        { "user", required_argument, NULL, OPTION_USER },
        HELP_OPTION },
    .run = listen_run,
};
