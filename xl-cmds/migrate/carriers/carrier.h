/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Carriers take a domain from one host to another.  Each is a struct carrier
 * in a file of its own; table.c holds the table.  Every connection is a struct
 * link.
 */
#ifndef XL_CMDS_CARRIER_H
#define XL_CMDS_CARRIER_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "operation/handoff.h"
#include "operation/hello.h"
#include "operation/xenstore.h"

#define DEFAULT_PORT "8002" /* that of Xen's old relocation server */

/* ---- links -------------------------------------------------------------- */

struct link;

struct link_ops {
    /*
     * Like non-blocking read() and write(): on -1 with EAGAIN, wait for
     * `read_events` or `write_events` of the link.  Other errors are in
     * link->error, too.
     */
    ssize_t (*read)(struct link *link, void *data, size_t length);
    ssize_t (*write)(struct link *link, const void *data, size_t length);
    /* Nothing more will be written. -1: as write. */
    int (*finish)(struct link *link);
    /* Nothing more will be read: stops the writer, if possible. */
    void (*stop)(struct link *link);
    void (*close)(struct link *link);
};

struct link {
    const struct link_ops *ops;
    int in, out; /* may be the same; do not block */
    short read_events, write_events;
    bool open;                  /* the peer can be sent a refusal */
    bool splice_in, splice_out; /* bytes pass through the fds unchanged */
    pid_t child;                /* program behind a pipe, or 0 */
    void *tls;                  /* tls.c's */
    char peer[160];             /* for messages */
    char subject[256];          /* of its certificate, printable, if any */
    char error[320];
};

/* link.c: links that are plain file descriptors. */
int link_open_fds(struct link *link, int in, int out, const char *peer);
/* Sets link->error; -1 with errnum in errno. */
int link_fail(struct link *link, int errnum, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void link_close(struct link *link);

/* Milliseconds of the monotonic clock. */
int64_t now_ms(void);
/*
 * Waits for events until `deadline` (0: forever), and for signals that are
 * otherwise blocked. 0, or -1 with errno ETIMEDOUT, EINTR.
 */
int wait_for_any(struct pollfd *fds, unsigned count, int64_t deadline);
int wait_for(int fd, short events, int64_t deadline);
/*
 * Waits until the peer has closed a socket, too: closing it with unread bytes
 * would discard what was written last.
 */
void link_linger(struct link *link, int64_t deadline);

/* ---- carriers --------------------------------------------------------- */

#define ALLOW_UID "uid:" /* in `allow`: a user, on UNIX sockets */

struct carrier_options {
    bool insecure;   /* plain TCP beyond the loopback interface */
    bool stock;      /* the peer does not know HELLO */
    const char *ssh; /* a shell command */
    const char *cert, *key, *authority, *revoked;
    const char *peer_name;    /* in the receiver's certificate */
    const char *const *allow; /* at a receiver: subjects and users, ends
                                 * with NULL */
    uid_t owner;              /* at a receiver: its own user */
    void *tls;                /* tls.c's, once prepared */
};

struct carrier {
    const char *name;
    bool sender_first; /* negotiation.md, section 2 */
    bool trusted;      /* the peer is trusted: silence may be a stock sender */
    /*
     * Connects to the receiver at `address`, and has it run `xl`
     * (NULL-terminated) if it can be asked to. -1: link->error.
     */
    int (*connect)(struct link *link, const char *address, char *const *xl,
                   const struct carrier_options *options);
    /* A listening socket, or -1 with one line in `why`. */
    int (*listen)(const char *address, const struct carrier_options *options,
                  char *why, size_t size);
    /* Reads what only a privileged process can read; NULL: nothing. */
    int (*prepare)(struct carrier_options *options, bool receiver, char *why,
                   size_t size);
    /*
     * Makes a link of an accepted connection; `peer` of the link is set.
     * -1: link->error says why it was refused.
     */
    int (*accept)(struct link *link, int fd, int64_t deadline,
                  const struct carrier_options *options);
    /* Refuses a connection when too busy. */
    void (*turn_away)(int fd, const char *why);
};

extern const struct carrier carrier_ssh, carrier_unix, carrier_tcp,
    carrier_tls;

/*
 * "NAME:ADDRESS", or a host alone for ssh.  `*rest` is the address.  NULL
 * after a report if there is no such carrier, or if it cannot listen and
 * `to_listen`.
 */
const struct carrier *carrier_find(const char *address, bool to_listen,
                                   const char **rest);

/* ssh.c: quotes a word for a shell; to be freed. */
char *shell_quote(const char *word);
/* Each word quoted, a space between them. */
char *shell_join(char *const *words);

/* tcp.c, for tls.c as well */
int tcp_connect(struct link *link, const char *address, bool only_loopback,
                char *host, size_t size);
int tcp_listen(const char *address, bool only_loopback, char *why,
               size_t size);
void socket_keep_alive(int fd);
/* Names the peer; only_loopback: -1 if it is another host. */
int tcp_name_peer(struct link *link, int fd);

/* ---- negotiate.c -------------------------------------------------------- */

/* What this program offers; `format` NULL, "auto", "v2" or "v3". */
void negotiate_offer(struct hello_offer *offer, enum hello_role role,
                     const char *format);

struct negotiate_times {
    unsigned seconds;       /* for the whole exchange */
    bool from_first_byte;   /* the user may be typing a passphrase */
    int64_t deadline;       /* instead of `seconds` from now, if not 0 */
    unsigned stock_seconds; /* receiver: silence is a stock sender */
};
/* Runs the exchange and sends all of it.  Never reads past it. */
void negotiate(struct link *link, struct hello *hello,
               const struct hello_offer *offer,
               const struct negotiate_times *times);
/* Refuses the peer. */
void negotiate_refuse(struct link *link, struct hello *hello,
                      enum hello_status status, const char *text,
                      int64_t deadline);
/* turn_away of carriers that do not encrypt. */
void negotiate_turn_away(int fd, const char *why);

/* ---- pump.c ------------------------------------------------------------- */

struct pump {
    struct link *a, *b;
    unsigned stall_seconds; /* how long b may stall; 0: forever */
    /* Bytes that were read from b already and belong to a. */
    const void *early;
    size_t early_length;
    /* Updated as bytes pass; in shared memory. */
    uint64_t *a_to_b, *b_to_a;
    int64_t *a_to_b_last, *b_to_a_last; /* NULL, or set to the time */
    uint64_t *spliced; /* NULL, or set once bytes went a to b without
                                 * a copy */
};

/* Runs until both directions have ended. -1 and `why` if one failed. */
int pump_run(struct pump *pump, char *why, size_t size);

#endif /* XL_CMDS_CARRIER_H */
