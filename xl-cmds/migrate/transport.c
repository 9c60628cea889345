/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What `xl migrate -s` runs in the place of ssh: connects, negotiates, tells
 * the plugin the outcome, and carries the domain.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "xl-cmds/migrate/carriers/options.h"

#define HANDSHAKE_SECONDS 30

struct carrier {
    const struct transport *transport;
    const char *address;
    char **xl;
    const char *format;
    struct transport_options options;
    struct board *board;
    struct link link;
    struct hello hello;
};

/* What a receiver that was not started by this end is to tell xl. */
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

static int fail(struct carrier *carrier, const char *text)
{
    report_about(carrier->address, text);
    snprintf(carrier->board->error, sizeof(carrier->board->error), "%s", text);
    return STATUS_FAILED;
}

/* Connects and negotiates once. */
static int attempt(struct carrier *carrier, bool first)
{
    const struct negotiate_times times = {
        .seconds = HANDSHAKE_SECONDS,
        .from_first_octet = !carrier->transport->sender_first,
    };
    struct hello_offer offer;

    if (carrier->transport->connect(&carrier->link, carrier->address,
                                    carrier->xl, &carrier->options) < 0)
        return fail(carrier, carrier->link.error);
    negotiate_offer(&offer, HELLO_SENDER, carrier->format);
    offer.first = first;
    offer.request = request_of(carrier->xl);
    negotiate(&carrier->link, &carrier->hello, &offer, &times);
    if (carrier->hello.state == HELLO_AGREED ||
        carrier->hello.state == HELLO_STOCK)
        return STATUS_OK;
    /* The link may know better why nothing came. */
    return fail(carrier,
                carrier->link.error[0] && carrier->hello.state == HELLO_FAILED
                    ? carrier->link.error
                    : carrier->hello.error.text);
}

static int reach_agreement(struct carrier *carrier)
{
    bool first = carrier->transport->sender_first && !carrier->options.stock;
    int status = attempt(carrier, first);

    if (status || carrier->hello.state != HELLO_STOCK || !first)
        return status;
    /* It took the HELLO for a domain: begin again, in silence. */
    link_close(&carrier->link);
    carrier->options.stock = true;
    status = attempt(carrier, false);
    if (!status && carrier->hello.state != HELLO_STOCK)
        return fail(carrier, "a stock xl answered first, and then another");
    return status;
}

static int child_status(pid_t pid)
{
    int status;

    if (!pid || waitpid(pid, &status, 0) != pid)
        return STATUS_OK;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int carry(struct carrier *carrier)
{
    struct board *board = carrier->board;
    struct link xl;
    struct pump pump = {
        .a = &xl,
        .b = &carrier->link,
        .a_to_b = &board->sent,
        .b_to_a = &board->received,
        /* xl does not wait for this process: its command reads the board. */
        .a_to_b_last = &board->last,
        .spliced = &board->spliced,
        .b_to_a_last = &board->answered,
    };
    char why[sizeof(board->error)];
    int r;

    /* The banner. */
    pump.early = carrier->hello.in;
    pump.early_length = carrier->hello.in_length;
    if (link_open_fds(&xl, STDIN_FILENO, STDOUT_FILENO, "xl") < 0)
        return fail(carrier, xl.error);
    r = pump_run(&pump, why, sizeof(why));
    link_close(&carrier->link);
    if (r < 0)
        return fail(carrier, why[0] ? why : "the connection broke");
    return STATUS_OK;
}

static int carrier_run(struct carrier *carrier)
{
    struct board *board = carrier->board;
    char why[320];
    int status, child;

    if (carrier->transport->prepare &&
        carrier->transport->prepare(&carrier->options, false, why,
                                    sizeof(why)) < 0)
        return fail(carrier, why);
    status = reach_agreement(carrier);
    if (status == STATUS_OK) {
        snprintf(board->transport, sizeof(board->transport), "%s",
                 carrier->transport->name);
        snprintf(board->peer, sizeof(board->peer), "%s", carrier->hello.peer);
        board->began = now_ms();
        /* Before xl sees an octet of the banner. */
        board_negotiated(board, carrier->hello.version,
                         carrier->hello.features);
        status = carry(carrier);
    }
    link_close(&carrier->link);
    child = child_status(carrier->link.child);
    return status ? status : child;
}

static int transport_run(const struct command *self, int argc, char **argv)
{
    static struct carrier carrier;
    static struct board own_board;
    const char *board = NULL;
    int opt, status;

    while ((opt = command_option(self, argc, argv, &status)) != -1) {
        if (opt == OPTION_DONE)
            return status;
        if (opt == OPTION_BOARD)
            board = optarg;
        else if (opt == OPTION_FORMAT)
            carrier.format = optarg;
        else
            transport_option(opt, optarg, &carrier.options);
    }
    if (argc - optind < 2)
        return command_misuse(self, "needs an address and what xl is to "
                                    "run there");
    carrier.transport = transport_find(argv[optind], false, &carrier.address);
    carrier.xl = argv + optind + 1;
    carrier.board = board ? board_open(board) : NULL;
    if (board && !carrier.board) {
        /* The plugin cannot read it either: what xl sends is v2. */
        report("warning: %s: %s", board, strerror(errno));
        carrier.format = "v2";
    }
    if (!carrier.board)
        carrier.board = &own_board;
    signal(SIGPIPE, SIG_IGN);
    return carrier_run(&carrier);
}

/* clang-format off */
const struct command command_transport = {
    .name = "transport",
    .arguments = "[OPTION...] [TRANSPORT:]ADDRESS xl ARGUMENT...",
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
