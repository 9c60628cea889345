/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plain TCP is unprotected, and so limited to the loopback interface. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "carrier.h"

#define DEAD_AFTER_MS 30000 /* negotiation.md, section 6 */
#define IDLE_S        10
#define INTERVAL_S    5
#define PROBES        4

static bool is_loopback(const struct sockaddr *address)
{
    const struct sockaddr_in *v4 = (const void *)address;
    const struct sockaddr_in6 *v6 = (const void *)address;

    if (address->sa_family == AF_INET)
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    if (address->sa_family != AF_INET6)
        return false;
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        return v6->sin6_addr.s6_addr[12] == 127;
    return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

void socket_keep_alive(int fd)
{
    static const struct {
        int level, name, value;
    } settings[] = {
        { SOL_SOCKET, SO_KEEPALIVE, 1 },
        { IPPROTO_TCP, TCP_KEEPIDLE, IDLE_S },
        { IPPROTO_TCP, TCP_KEEPINTVL, INTERVAL_S },
        { IPPROTO_TCP, TCP_KEEPCNT, PROBES },
        { IPPROTO_TCP, TCP_USER_TIMEOUT, DEAD_AFTER_MS },
        /* xl's last messages are short and must not be delayed. */
        { IPPROTO_TCP, TCP_NODELAY, 1 },
    };
    size_t i;

    for (i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        setsockopt(fd, settings[i].level, settings[i].name, &settings[i].value,
                   sizeof(settings[i].value));
}

/* getaddrinfo() would take 99999 as 34463.  Names of services have letters. */
static bool port_fits(const char *port)
{
    size_t digits = strspn(port, "0123456789");

    return port[digits] || (digits <= 5 && strtol(port, NULL, 10) <= 65535);
}

/* "host:port", "host", "[v6]:port", ":port" (to listen everywhere). */
static int split(const char *address, char *host, size_t size,
                 const char **port)
{
    const char *end = strrchr(address, ':'), *close = strrchr(address, ']');
    const char *begin = address;
    size_t length;

    *port = DEFAULT_PORT;
    if (address[0] == '[') {
        if (!close || (close[1] && close[1] != ':'))
            return -1;
        begin = address + 1;
        length = close - begin;
        end = close[1] ? close + 1 : NULL;
    } else if (end && strchr(address, ':') == end) {
        length = end - address;
    } else {
        /* No colon, or those of a bare IPv6 address. */
        length = strlen(address);
        end = NULL;
    }
    if (end)
        *port = end + 1;
    if (!**port || length >= size || !port_fits(*port))
        return -1;
    memcpy(host, begin, length);
    host[length] = '\0';
    return 0;
}

/* NULL with one line in `why`. */
static struct addrinfo *resolve(const char *address, bool passive, char *host,
                                size_t host_size, char *why, size_t size)
{
    const struct addrinfo hints = {
        .ai_flags = passive ? AI_PASSIVE : 0,
        .ai_socktype = SOCK_STREAM,
    };
    struct addrinfo *found = NULL;
    const char *port;
    int r;

    if (split(address, host, host_size, &port)) {
        snprintf(why, size,
                 "%s is not HOST, HOST:PORT or [IPV6]:PORT, "
                 "with a port of at most 65535",
                 address);
        return NULL;
    }
    r = getaddrinfo(host[0] && strcmp(host, "*") ? host : NULL, port, &hints,
                    &found);
    if (r)
        snprintf(why, size, "%s: %s", address,
                 r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r));
    return r ? NULL : found;
}

/* A name may have several addresses: check each. */
static bool refuse_distant(const struct addrinfo *at, const char *address,
                           char *why, size_t size)
{
    if (is_loopback(at->ai_addr))
        return false;
    snprintf(why, size,
             "%s is not a loopback address, and plain TCP "
             "protects nothing: use tls:, ssh or --insecure",
             address);
    return true;
}

int tcp_connect(struct link *link, const char *address, bool only_loopback,
                char *host, size_t size)
{
    struct addrinfo *found, *at;
    int fd = -1;

    memset(link, 0, sizeof(*link));
    found = resolve(address, false, host, size, link->error,
                    sizeof(link->error));
    for (at = found; at && fd < 0; at = at->ai_next) {
        if (only_loopback &&
            refuse_distant(at, address, link->error, sizeof(link->error)))
            break;
        fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        socket_keep_alive(fd);
        if (connect(fd, at->ai_addr, at->ai_addrlen) < 0) {
            snprintf(link->error, sizeof(link->error), "%s: %s", address,
                     strerror(errno));
            close(fd);
            fd = -1;
        }
    }
    if (found)
        freeaddrinfo(found);
    if (fd < 0)
        return link_fail(link, EHOSTUNREACH, "%s: no connection", address);
    return link_open_fds(link, fd, fd, address);
}

int tcp_listen(const char *address, bool only_loopback, char *why, size_t size)
{
    struct addrinfo *found, *at;
    const int yes = 1;
    char host[256];
    int fd = -1;

    found = resolve(address, true, host, sizeof(host), why, size);
    if (!found)
        return -1;
    /* Prefer IPv6: its socket accepts IPv4 as well. */
    for (at = found; at->ai_next && at->ai_family != AF_INET6;)
        at = at->ai_next;
    if (host[0] && strcmp(host, "*"))
        at = found;
    if (only_loopback && refuse_distant(at, address, why, size))
        goto out;
    fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (fd < 0 || bind(fd, at->ai_addr, at->ai_addrlen) < 0 ||
        listen(fd, SOMAXCONN) < 0) {
        snprintf(why, size, "%s: %s", address, strerror(errno));
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
out:
    freeaddrinfo(found);
    return fd;
}

int tcp_name_peer(struct link *link, int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    char host[64] = "?", port[16] = "?";
    bool v6;

    if (getpeername(fd, (struct sockaddr *)&address, &length) < 0)
        return link_fail(link, errno, "getpeername: %s", strerror(errno));
    getnameinfo((struct sockaddr *)&address, length, host, sizeof(host), port,
                sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
    v6 = strchr(host, ':');
    snprintf(link->peer, sizeof(link->peer), "%s%s%s:%s", v6 ? "[" : "", host,
             v6 ? "]" : "", port);
    return is_loopback((struct sockaddr *)&address);
}

/* ---- the carrier ------------------------------------------------------ */

static int plain_connect(struct link *link, const char *address,
                         char *const *xl,
                         const struct carrier_options *options)
{
    char host[256];

    (void)xl;
    return tcp_connect(link, address, !options->insecure, host, sizeof(host));
}

static int plain_listen(const char *address,
                        const struct carrier_options *options, char *why,
                        size_t size)
{
    return tcp_listen(address, !options->insecure, why, size);
}

static int plain_accept(struct link *link, int fd, int64_t deadline,
                        const struct carrier_options *options)
{
    int local;

    (void)deadline;
    if (link_open_fds(link, fd, fd, "tcp") < 0)
        return -1;
    local = tcp_name_peer(link, fd);
    if (local < 0)
        return -1;
    /* The socket may be one of systemd's. */
    if (!local && !options->insecure)
        return link_fail(link, EPERM,
                         "plain TCP from another host, without "
                         "--insecure");
    return 0;
}

const struct carrier carrier_tcp = {
    .name = "tcp",
    .sender_first = true,
    .connect = plain_connect,
    .listen = plain_listen,
    .accept = plain_accept,
    .turn_away = negotiate_turn_away,
};
