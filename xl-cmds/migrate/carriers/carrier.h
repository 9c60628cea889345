/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What carries a domain from one host to another.  A carrier is one struct
 * transport in one file; table.c holds the table of them.  What has been
 * connected is a struct link, whatever carries it.
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
#include "operation/operation.h"

#define DEFAULT_PORT "8002" /* that of Xen's relocation of old */

/* ---- links -------------------------------------------------------------- */

struct link;

struct link_ops {
    /*
     * As read and write without waiting: -1 with errno EAGAIN says that
     * `read_events`, `write_events` of the link are to be waited for.  Other
     * errors are in `error` of the link too.
     */
    ssize_t (*read)(struct link *link, void *data, size_t length);
    ssize_t (*write)(struct link *link, const void *data, size_t length);
    /* Says that nothing more will be written. -1: as write. */
    int (*finish)(struct link *link);
    /* Nothing more will be read: tell whoever writes, if that can be. */
    void (*stop)(struct link *link);
    void (*close)(struct link *link);
};

struct link {
    const struct link_ops *ops;
    int in, out; /* may be the same; do not block */
    short read_events, write_events;
    bool open;                  /* both ends can be understood */
    bool splice_in, splice_out; /* bytes pass through the fds as they are */
    pid_t child;                /* program behind a pipe, or 0 */
    void *tls;                  /* tls.c's */
    char peer[160];             /* for messages */
    char subject[256];          /* of its certificate, printable, if any */
    char error[320];
};

/* link.c: links that are nothing but file descriptors. */
int link_open_fds(struct link *link, int in, int out, const char *peer);
/* Sets link->error; -1 with errnum in errno. */
int link_fail(struct link *link, int errnum, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void link_close(struct link *link);

/* Milliseconds of a clock that only runs forwards. */
int64_t now_ms(void);
/*
 * Waits for events until `deadline` (0: for ever), signals that are blocked
 * otherwise among them.  0, or -1 with errno ETIMEDOUT, EINTR.
 */
int wait_for_any(struct pollfd *fds, unsigned count, int64_t deadline);
int wait_for(int fd, short events, int64_t deadline);
/*
 * Until the peer has closed a socket too: to close one with bytes that were
 * not read takes back what was written last.
 */
void link_linger(struct link *link, int64_t deadline);

/* ---- carriers --------------------------------------------------------- */

#define ALLOW_UID "uid:" /* of `allow`: a user, on UNIX sockets */

struct carrier_options {
    bool insecure;   /* plain TCP beyond the loopback interface */
    bool stock;      /* the peer knows nothing of HELLO */
    const char *ssh; /* command, in the shell's syntax */
    const char *cert, *key, *authority, *revoked;
    const char *peer_name;    /* in the receiver's certificate */
    const char *const *allow; /* at a receiver: subjects and users, ends
                                 * with NULL */
    uid_t owner;              /* at a receiver: who listens */
    void *tls;                /* tls.c's, once prepared */
};

struct carrier {
    const char *name;
    bool sender_first; /* negotiation.md, section 2 */
    bool trusted;      /* what has connected is known: silence may
                                 * be a stock sender */
    /*
     * Connects to the receiver at `address`, where `xl` (NULL-terminated) is
     * what the receiver is to run if it can be told.  -1: link->error.
     */
    int (*connect)(struct link *link, const char *address, char *const *xl,
                   const struct carrier_options *options);
    /* A listening socket, or -1 with one line in `why`. */
    int (*listen)(const char *address, const struct carrier_options *options,
                  char *why, size_t size);
    /* Reads what only a privileged process can; NULL: nothing to read. */
    int (*prepare)(struct carrier_options *options, bool receiver, char *why,
                   size_t size);
    /*
     * Makes a link of an accepted connection; `peer` of the link is set.
     * -1: link->error says why it was refused.
     */
    int (*accept)(struct link *link, int fd, int64_t deadline,
                  const struct carrier_options *options);
    /* Says no to a connection that nobody has time for. */
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

/* ssh.c: words for a shell to take as they are, to be freed. */
char *shell_quote(const char *word);
/* Each word quoted, a space between them. */
char *shell_join(char *const *words);

/* tcp.c, for tls.c as well */
int tcp_connect(struct link *link, const char *address, bool only_loopback,
                char *host, size_t size);
int tcp_listen(const char *address, bool only_loopback, char *why,
               size_t size);
void socket_keep_alive(int fd);
/* Who is at the other end, in words; only_loopback: -1 if it is far away. */
int tcp_name_peer(struct link *link, int fd);

/* ---- negotiate.c -------------------------------------------------------- */

/* What this program offers; `format` NULL, "auto", "v2" or "v3". */
void negotiate_offer(struct hello_offer *offer, enum hello_role role,
                     const char *format);

struct negotiate_times {
    unsigned seconds;       /* for the whole exchange */
    bool from_first_byte;   /* a person may be typing a passphrase */
    int64_t deadline;       /* instead of `seconds` from now, if not 0 */
    unsigned stock_seconds; /* receiver: silence is a stock sender */
};
/*
 * Until the exchange is over and what is left to be sent has been sent.
 * Never reads past it.
 */
void negotiate(struct link *link, struct hello *hello,
               const struct hello_offer *offer,
               const struct negotiate_times *times);
/* Refuses the peer, whatever it has said. */
void negotiate_refuse(struct link *link, struct hello *hello,
                      enum hello_status status, const char *text,
                      int64_t deadline);
/* struct carrier's turn_away where nothing is encrypted. */
void negotiate_turn_away(int fd, const char *why);

/* ---- pump.c ------------------------------------------------------------- */

struct pump {
    struct link *a, *b;
    unsigned stall_seconds; /* how long b may keep this waiting; 0: for
                                 * ever */
    /* Bytes that were read from b already and belong to a. */
    const void *early;
    size_t early_length;
    /* Counted as they go; others may look. */
    uint64_t *a_to_b, *b_to_a;
    int64_t *a_to_b_last, *b_to_a_last; /* NULL, or where to put the time */
    uint64_t *spliced; /* NULL, or set once bytes went a to b without
                                 * a copy */
};

/* Until both ways have ended.  -1 if one ended in an error: in `why`. */
int pump_run(struct pump *pump, char *why, size_t size);

#endif /* XL_CMDS_CARRIER_H */
