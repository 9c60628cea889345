/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Run by a sender through ssh on the receiving host: negotiates on stdin and
 * stdout, then executes xl.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "xl-cmds/migrate/carriers/options.h"

#define HANDSHAKE_SECONDS 30

/* xl expects blocking I/O. */
static int set_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

static int agree(const char *format)
{
    const struct negotiate_times times = {
        .seconds = HANDSHAKE_SECONDS,
        .from_first_byte = true,
    };
    static struct hello hello;
    struct hello_offer offer;
    struct link link;

    if (link_open_fds(&link, STDIN_FILENO, STDOUT_FILENO, "the sender") < 0) {
        report("%s", link.error);
        return STATUS_FAILED;
    }
    negotiate_offer(&offer, HELLO_RECEIVER, format);
    offer.first = true;
    offer.refuse_stock = true;
    negotiate(&link, &hello, &offer, &times);
    if (hello.state != HELLO_AGREED) {
        report("not receiving: %s", hello.error.text);
        return STATUS_FAILED;
    }
    if (set_blocking(STDIN_FILENO) < 0 || set_blocking(STDOUT_FILENO) < 0) {
        report("fcntl: %s", strerror(errno));
        return STATUS_FAILED;
    }
    return STATUS_OK;
}

/* The sender's address, for xl-aligned status. */
static void tell_peer(void)
{
    const char *connection = getenv("SSH_CONNECTION");
    char peer[64];

    if (connection &&
        snprintf(peer, sizeof(peer), "%.*s", (int)strcspn(connection, " "),
                 connection) < (int)sizeof(peer))
        setenv("XL_ALIGNED_PEER", peer, 1);
}

static int receive_run(const struct command *self, int argc, char **argv)
{
    const struct environment settings = { 0 };
    const char *format = NULL, *program;
    int opt, status;

    while ((opt = command_option(self, argc, argv, &status)) != -1) {
        if (opt == OPTION_DONE)
            return status;
        format = optarg;
    }
    if (optind == argc || strcmp(argv[optind], "xl"))
        return command_misuse(self, "expected xl ARGUMENT...");
    program = xl_program();
    if (!program)
        return STATUS_NO_XL;
    /* Without the plugin, xl only reads v2. */
    if (!plugin_environment(&settings))
        format = "v2";
    tell_peer();
    signal(SIGPIPE, SIG_IGN);
    status = agree(format);
    if (status)
        return status;
    signal(SIGPIPE, SIG_DFL);
    return xl_become(program, argv + optind);
}

/* clang-format off */
const struct command command_receive = {
    .name = "receive",
    .arguments = "[OPTION...] -- xl migrate-receive [ARGUMENT...]",
    .summary = "What migrate has ssh run on the other host",
    .internal = true,
    .details =
        "  --format=FORMAT        of the stream, at best: v3 v2\n",
    .short_options = "+",
    .long_options = (const struct option[]){ FORMAT_OPTION, HELP_OPTION },
    .run = receive_run,
};
/* clang-format on */
