/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Run by `xl migrate -s` instead of ssh: connects, negotiates, tells the
 * plugin the outcome, and carries the stream.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "xl-cmds/migrate/carriers/options.h"
#include "transport.h"

#define HANDSHAKE_SECONDS 30

struct transport {
    const struct carrier *carrier;
    const char *address;
    char **xl;
    const char *format;
    struct carrier_options options;
    struct board *board;
    struct link link;
    struct hello hello;
};

/* ---- the board ---------------------------------------------------------- */

static struct board *map(int fd)
{
    struct board *board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
                               MAP_SHARED, fd, 0);

    return board == MAP_FAILED ? NULL : board;
}

struct board *board_create(char path[FD_PATH])
{
    struct board *board = NULL;
    int fd = fd_shared_memory("xl-aligned", sizeof(*board), path);

    if (fd >= 0)
        board = map(fd);
    /* The fd stays open: the path leads through it. */
    if (!board && fd >= 0)
        close(fd);
    return board;
}

static struct board *board_open(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct board *board = NULL;
    struct stat st;

    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0 && st.st_size == sizeof(*board))
        board = map(fd);
    close(fd);
    return board;
}

/* ---- the connection ----------------------------------------------------- */

/* The options of xl that a receiver not started by this end must use. */
static uint32_t request_of(char *const *xl)
{
    static const struct {
        const char *option;
        uint32_t bit;
    } options[] = {
        { "-p", HELLO_PAUSE },
        { "-d", HELLO_DEBUG },
        { "-e", HELLO_STAY },
    };
    bool command = false;
    uint32_t request = 0;
    size_t i;

    for (; *xl; xl++) {
        for (i = 0; command && i < sizeof(options) / sizeof(*options); i++)
            if (!strcmp(*xl, options[i].option))
                request |= options[i].bit;
        command |= !strcmp(*xl, "migrate-receive");
    }
    return request;
}

static int fail(struct transport *t, const char *text)
{
    report_about(t->address, text);
    snprintf(t->board->error, sizeof(t->board->error), "%s", text);
    return STATUS_FAILED;
}

/* Connects and negotiates once. */
static int attempt(struct transport *t, bool first)
{
    const struct negotiate_times times = {
        .seconds = HANDSHAKE_SECONDS,
        .from_first_byte = !t->carrier->sender_first,
    };
    struct hello_offer offer;

    if (t->carrier->connect(&t->link, t->address, t->xl, &t->options) < 0)
        return fail(t, t->link.error);
    negotiate_offer(&offer, HELLO_SENDER, t->format);
    offer.first = first;
    offer.request = request_of(t->xl);
    negotiate(&t->link, &t->hello, &offer, &times);
    if (t->hello.state == HELLO_AGREED || t->hello.state == HELLO_STOCK)
        return STATUS_OK;
    /* The link may have a more specific error. */
    return fail(t, t->link.error[0] && t->hello.state == HELLO_FAILED
                       ? t->link.error
                       : t->hello.error.text);
}

static int reach_agreement(struct transport *t)
{
    bool first = t->carrier->sender_first && !t->options.stock;
    int status = attempt(t, first);

    if (status || t->hello.state != HELLO_STOCK || !first)
        return status;
    /* The receiver took HELLO for a stream: retry without it. */
    link_close(&t->link);
    t->options.stock = true;
    status = attempt(t, false);
    if (!status && t->hello.state != HELLO_STOCK)
        return fail(t, "a stock xl answered first, and then another");
    return status;
}

static int child_status(pid_t pid)
{
    int status;

    if (!pid || waitpid(pid, &status, 0) != pid)
        return STATUS_OK;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int carry(struct transport *t)
{
    struct board *board = t->board;
    struct link xl;
    struct pump pump = {
        .a = &xl,
        .b = &t->link,
        .a_to_b = &board->sent,
        .b_to_a = &board->received,
        /* xl does not wait for this process: migrate reads the board. */
        .a_to_b_last = &board->last,
        .spliced = &board->spliced,
        .b_to_a_last = &board->answered,
    };
    char why[sizeof(board->error)];
    int r;

    /* The banner. */
    pump.early = t->hello.in;
    pump.early_length = t->hello.in_length;
    if (link_open_fds(&xl, STDIN_FILENO, STDOUT_FILENO, "xl") < 0)
        return fail(t, xl.error);
    r = pump_run(&pump, why, sizeof(why));
    link_close(&t->link);
    if (r < 0)
        return fail(t, why[0] ? why : "the connection broke");
    return STATUS_OK;
}

static int transport_serve(struct transport *t)
{
    struct board *board = t->board;
    char why[320];
    int status, child;

    if (t->carrier->prepare &&
        t->carrier->prepare(&t->options, false, why, sizeof(why)) < 0)
        return fail(t, why);
    status = reach_agreement(t);
    if (status == STATUS_OK) {
        snprintf(board->carrier, sizeof(board->carrier), "%s",
                 t->carrier->name);
        snprintf(board->peer, sizeof(board->peer), "%s", t->hello.peer);
        board->began = now_ms();
        /* Before xl sees a byte of the banner. */
        snprintf(board->plugin.negotiated, sizeof(board->plugin.negotiated),
                 "format=v%u\nfeatures=0x%" PRIx64 "\n", t->hello.version,
                 (uint64_t)t->hello.features);
        status = carry(t);
    }
    link_close(&t->link);
    child = child_status(t->link.child);
    return status ? status : child;
}

static int transport_run(const struct command *self, int argc, char **argv)
{
    static struct transport transport;
    static struct board own_board;
    const char *board = NULL;
    int opt, status;

    while ((opt = command_option(self, argc, argv, &status)) != -1) {
        if (opt == OPTION_DONE)
            return status;
        if (opt == OPTION_BOARD)
            board = optarg;
        else if (opt == OPTION_FORMAT)
            transport.format = optarg;
        else
            carrier_option(opt, optarg, &transport.options);
    }
    if (argc - optind < 2)
        return command_misuse(self, "expected ADDRESS xl ARGUMENT...");
    transport.carrier = carrier_find(argv[optind], false, &transport.address);
    transport.xl = argv + optind + 1;
    transport.board = board ? board_open(board) : NULL;
    if (board && !transport.board) {
        /* The plugin cannot read it either, and xl will send v2. */
        report("warning: %s: %s", board, strerror(errno));
        transport.format = "v2";
    }
    if (!transport.board)
        transport.board = &own_board;
    signal(SIGPIPE, SIG_IGN);
    return transport_serve(&transport);
}

/* clang-format off */
const struct command command_transport = {
    .name = "transport",
    .arguments = "[OPTION...] [CARRIER:]ADDRESS xl ARGUMENT...",
    .summary = "What migrate has xl run in the place of ssh",
    .internal = true,
    .details = "",
    .short_options = "+",
    .long_options = (const struct option[]){
        FORMAT_OPTION,
        { "board", required_argument, NULL, OPTION_BOARD },
        CONNECT_OPTIONS, HELP_OPTION },
    .run = transport_run,
};
/* clang-format on */
