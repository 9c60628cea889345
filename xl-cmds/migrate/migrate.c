/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xl migrate over a carrier of ours: both ends negotiate the stream, and the
 * plugin encodes accordingly.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "xl-cmds/json.h"
#include "xl-cmds/progress.h"
#include "xl-cmds/migrate/carriers/options.h"
#include "transport.h"

#define SHOW_INTERVAL_MS 250

struct migration {
    const char *domain, *host, *format;
    char *shown;          /* the domain, escaped for a terminal */
    const char *compress; /* NULL: uncompressed */
    struct carrier_options options;
    struct xl xl;
    bool json;
    const char *live; /* for XL_ALIGNED_LIVE; NULL: live if possible */
    struct board *board;
    struct handoff *page; /* NULL: pages are not counted */
    char board_path[FD_PATH];
    int64_t began, ended;
    int64_t shown_at; /* 0: no progress has been shown */
    uint64_t shown_sent;
};

/* ---- xl ----------------------------------------------------------------- */

/* On a terminal, until xl has ended. */
static void show(void *context)
{
    struct migration *migration = context;
    uint64_t sent = __atomic_load_n(&migration->board->sent, __ATOMIC_RELAXED);
    int64_t now = now_ms(), then = migration->shown_at;
    unsigned pass;

    if (!then)
        then = migration->began;
    if (sent == migration->shown_sent || now - then < SHOW_INTERVAL_MS)
        return;
    fprintf(stderr, "\r%s: ", migration->shown);
    if (migration->page && (pass = atomic_load(&migration->page->passes)))
        fprintf(stderr, "pass %u, ", pass);
    fprintf(stderr, "%.1f MiB sent, %.1f MiB/s \033[K", sent / 1048576.0,
            (sent - migration->shown_sent) / 1048.576 / (now - then));
    migration->shown_sent = sent;
    migration->shown_at = now;
}

static int run_xl(struct migration *migration)
{
    struct xl_result result;

    if (isatty(STDERR_FILENO)) {
        migration->xl.tick = show;
        migration->xl.tick_context = migration;
    }
    xl_guard(&migration->xl);
    xl_run(&migration->xl, &result);
    if (migration->shown_at)
        fputs("\r\033[K", stderr);
    return result.status;
}

/* The command that xl runs instead of ssh, and its name for the host. */
static int add_transport(struct migration *migration)
{
    struct arguments words = { 0 };
    char self[PATH_MAX], *word;
    ssize_t r = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (r < 0) {
        report("/proc/self/exe: %s", strerror(errno));
        return STATUS_FAILED;
    }
    self[r] = '\0';
    arguments_add(&words, self);
    arguments_add(&words, "transport");
    word = xasprintf("--board=%s", migration->board_path);
    arguments_add(&words, word);
    free(word);
    if (migration->format) {
        word = xasprintf("--format=%s", migration->format);
        arguments_add(&words, word);
        free(word);
    }
    carrier_options_words(&migration->options, &words);
    arguments_add(&words, "--");

    arguments_add(&migration->xl.arguments, "-s");
    word = shell_join(words.argv);
    arguments_add(&migration->xl.arguments, word);
    free(word);
    arguments_free(&words);

    /* No domain's name begins with "-"; the host is read by a shell. */
    word = shell_quote(migration->host);
    char *const operands[] = { (char *)migration->domain, word, NULL };
    arguments_add_operands(&migration->xl.arguments, (char **)operands);
    free(word);
    return STATUS_OK;
}

/* ---- what came of it ---------------------------------------------------- */

static int stream_version(const struct board *board)
{
    int version = 0;

    sscanf(board->plugin.negotiated, "format=v%d", &version);
    return version;
}

/* The compression that the plugin uses, parsed and limited as it does. */
static const char *compression_used(const struct migration *migration)
{
    struct xensave_compression asked = { .codec = XENSAVE_CODEC_NONE };
    uint64_t features = 0;
    int version = 0;

    if (migration->compress)
        xensave_compression_parse(migration->compress, &asked);
    sscanf(migration->board->plugin.negotiated, "format=v%d features=%" SCNx64,
           &version, &features);
    if (version < 3 || !(features & xensave_codec_feature(asked.codec)))
        asked.codec = XENSAVE_CODEC_NONE;
    return xensave_codec_name(asked.codec);
}

/*
 * From the suspension of the guest here to the receiver's report that it runs
 * there; -1 if unknown.
 */
static double downtime(const struct migration *migration, int status)
{
    const struct board *board = migration->board;
    int64_t suspended;

    if (status ||
        sscanf(board->plugin.suspended, "suspended=%" SCNd64, &suspended) != 1)
        return -1;
    return (board->answered - suspended) / 1000.0;
}

static double seconds(int64_t from, int64_t to)
{
    return from && to > from ? (to - from) / 1000.0 : 0;
}

static int print_json(const struct migration *migration, int status)
{
    const struct board *board = migration->board;
    yajl_gen gen = json_begin();

    if (!gen)
        return -1;
    yajl_gen_map_open(gen);
    json_text(gen, "domain", migration->domain);
    json_text(gen, "host", migration->host);
    json_number(gen, "exit_status", status);
    json_optional_text(gen, "carrier", board->carrier);
    json_optional_text(gen, "peer", board->peer);
    if (stream_version(board))
        json_number(gen, "stream_version", stream_version(board));
    else
        json_null(gen, "stream_version");
    json_text(gen, "compression", compression_used(migration));
    json_number(gen, "bytes_sent", board->sent);
    json_number(gen, "bytes_received", board->received);
    json_truth(gen, "spliced", board->spliced);
    passes_json(gen, migration->page);
    json_real(gen, "downtime_seconds", downtime(migration, status));
    json_real(gen, "transfer_seconds", seconds(board->began, board->last));
    json_real(gen, "total_seconds",
              seconds(migration->began, migration->ended));
    json_optional_text(gen, "error", board->error);
    yajl_gen_map_close(gen);
    return json_end(gen);
}

static void print_text(const struct migration *migration, int status)
{
    const struct board *board = migration->board;
    const char *compression = compression_used(migration);
    char *host, *peer;

    if (!strcmp(compression, "none"))
        compression = "";
    if (!board->plugin.negotiated[0])
        return;
    host = printable(migration->host);
    peer = printable(board->peer);
    fprintf(stderr,
            "xl-aligned: %s: %s %s: stream v%d%s%s over %s, peer "
            "%s, %.1f MiB sent in %.1f s",
            migration->shown, status ? "not migrated to" : "migrated to", host,
            stream_version(board), *compression ? ", " : "", compression,
            board->carrier, peer, board->sent / 1048576.0,
            seconds(board->began, board->last));
    passes_print(stderr, migration->page);
    if (downtime(migration, status) >= 0)
        fprintf(stderr, ", the domain stood still for %.2f s",
                downtime(migration, status));
    fputc('\n', stderr);
    free(host);
    free(peer);
}

/* ---- the command -------------------------------------------------------- */

static int migrate(struct migration *migration)
{
    const struct environment settings = {
        .compress = migration->compress,
        .negotiated = migration->board_path,
        .peer = migration->host,
        .live = migration->live,
    };
    const char *rest;
    int page_fd, status;

    if (!carrier_find(migration->host, false, &rest))
        return STATUS_USAGE;
    migration->xl.program = xl_program();
    if (!migration->xl.program)
        return STATUS_NO_XL;
    migration->board = board_create(migration->board_path);
    if (!migration->board) {
        report("memfd_create: %s", strerror(errno));
        return STATUS_FAILED;
    }
    /* Such a default may not suit this receiver. */
    unsetenv("XL_ALIGNED_FORMAT");
    unsetenv("XL_ALIGNED_COMPRESS");
    if (!plugin_environment(&settings)) {
        if (migration->live && !strcmp(migration->live, "no")) {
            report("--no-live needs the plugin");
            return STATUS_FAILED;
        }
        if (migration->format && !strcmp(migration->format, "v3")) {
            report("--format=v3 needs the plugin");
            return STATUS_FAILED;
        }
        if (migration->compress && strcmp(migration->compress, "none"))
            report("sending uncompressed: --compress needs the plugin");
        migration->compress = NULL;
        migration->format = "v2";
    } else {
        migration->page = progress_page(&page_fd);
    }
    status = add_transport(migration);
    if (status)
        return status;

    migration->began = now_ms();
    status = run_xl(migration);
    migration->ended = now_ms();
    print_text(migration, status);
    if (migration->json && print_json(migration, status) && !status)
        status = STATUS_FAILED;
    return status;
}

static int take_option(struct migration *migration, int opt)
{
    char letter[] = { '-', (char)opt, 0 };

    switch (opt) {
    case OPTION_JSON:
        migration->json = true;
        return 0;
    case OPTION_XL_DEBUG:
        arguments_add(&migration->xl.arguments, "--debug");
        return 0;
    case OPTION_XL_LIVE:
        migration->live = "must";
        return 0;
    case OPTION_NO_LIVE:
        migration->live = "no";
        return 0;
    case 's':
        carrier_option(OPTION_SSH, optarg, &migration->options);
        return 0;
    case 'C':
        arguments_add(&migration->xl.arguments, letter);
        arguments_add(&migration->xl.arguments, optarg);
        return 0;
    default:
        if (!carrier_option(opt, optarg, &migration->options))
            arguments_add(&migration->xl.arguments, letter);
        return 0;
    }
}

static int migrate_run(const struct command *self, int argc, char **argv)
{
    struct environment settings = { 0 };
    struct migration migration = { 0 };
    int opt, r, status;

    xl_init(&migration.xl, &xl_migrate, "migrate");
    while ((opt = command_option(self, argc, argv, &status)) != -1) {
        if (opt == OPTION_DONE)
            goto out;
        r = plugin_option(self, opt, optarg, &settings);
        status = STATUS_USAGE;
        if (r < 0)
            goto out;
        if (!r)
            take_option(&migration, opt);
    }
    status = plugin_options_check(self, &settings);
    if (status)
        goto out;
    migration.format = settings.format;
    migration.compress = settings.compress;
    if (migration.format && !strcmp(migration.format, "compat")) {
        status = command_misuse(self, "--format=compat: a stream has no "
                                      "offsets to align to");
        goto out;
    }
    if (argc - optind != 2) {
        status = command_misuse(self, "expected DOMAIN HOST");
        goto out;
    }
    migration.domain = argv[optind];
    migration.shown = printable(migration.domain);
    migration.host = argv[optind + 1];
    status = migrate(&migration);

out:
    free(migration.shown);
    xl_free(&migration.xl);
    return status;
}

/* clang-format off */
const struct command command_migrate = {
    .name = "migrate",
    .arguments = "[OPTION...] DOMAIN HOST",
    .summary = "Migrate a running domain to another host",
    .details =
        "HOST is a host as xl migrate takes it, for ssh, or one of\n"
        "  tls:HOST[:PORT]  unix:PATH  tcp:HOST[:PORT]\n"
        "where xl-aligned listen receives.\n"
        "\n"
        "  --format=FORMAT        of the stream: auto (what both ends know),\n"
        "                         v3 (or else refuse), v2\n"
        COMPRESS_HELP COMPRESS_ALL_HELP
        "  -s, --ssh=COMMAND      instead of ssh\n"
        "  --stock                the receiver is xl without xl-aligned:\n"
        "                         do not try to negotiate\n"
        "  --insecure             plain TCP to other hosts too\n"
        "  --peer-name=NAME       in the receiver's certificate, instead of\n"
        "                         HOST\n"
        TLS_HELP
        "  --no-live              pause the domain during the migration\n"
        "  --live                 fail if Xen cannot copy the domain while it\n"
        "                         runs\n"
        "  --json                 the outcome, on stdout\n"
        "\n"
        "xl's own options:\n"
        "  -C FILE                send this configuration instead\n"
        "  -e                     do not wait, there, for the domain to die\n"
        "  -p                     leave the domain paused\n"
        "  -D                     preserve the domain id\n"
        "  --debug                verify each page again\n"
        "\n"
        "Exit status: xl's; 127 if xl cannot be run.\n"
        "\n",
    .short_options = "C:s:epD",
    .long_options = (const struct option[]){
        FORMAT_OPTION, COMPRESS_OPTION, CONNECT_OPTIONS,
        { "json", no_argument, NULL, OPTION_JSON },
        { "debug", no_argument, NULL, OPTION_XL_DEBUG },
        { "live", no_argument, NULL, OPTION_XL_LIVE },
        { "no-live", no_argument, NULL, OPTION_NO_LIVE },
        HELP_OPTION },
    .run = migrate_run,
};
/* clang-format on */
