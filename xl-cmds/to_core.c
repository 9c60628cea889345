/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "core/core.h"
#include "operation/xenstore.h"
#include "plugin.h"
#include "progress.h"
#include "savefile.h"
#include "target.h"

#define SHOWN_EVERY 0.2 /* seconds */

enum {
    OPTION_CORE_FORMAT = OPTION_LONG + 100,
    OPTION_NO_SPARSE,
};

struct to_core {
    const char *in_name, *out_name;
    struct savefile in;
    struct core_savefile *core;
    struct target target;
    int out;
    bool out_is_file; /* or a block device */
    struct xensave_io_options io;
    bool force;
    struct core_options options;
    struct xensave_error error;
    /* What is shown on the terminal. */
    const char *phase;
    struct rate rate;
    double begun, shown;
    uint64_t memory;
};

static int out_failed(const struct to_core *c, const char *doing)
{
    report("%s: %s: %s", c->out_name, doing, strerror(errno));
    return -1;
}

static int open_output(struct to_core *c)
{
    struct partial_kind kind = target_core;
    int flags;

    /* The domain cannot be restored from a core. */
    if (target_names(c->out_name, c->in.fd)) {
        report("%s and %s are the same file", c->in_name, c->out_name);
        return -1;
    }
    kind.force = c->force;
    if (target_open(&c->target, c->out_name, &kind) != STATUS_OK)
        return -1;
    partial_signals_begin(&c->target.file);
    c->out_is_file = S_ISREG(c->target.file.st.st_mode) ||
                     S_ISBLK(c->target.file.st.st_mode);
    flags = c->out_is_file ? O_RDWR : O_WRONLY;
    c->out = open(c->target.path, flags | O_CLOEXEC | O_NOCTTY);
    return c->out < 0 ? out_failed(c, "opening") : 0;
}

static void show_progress(void *context, uint64_t pages, uint64_t of)
{
    struct to_core *c = context;
    struct figures figures = {
        .phase = c->core ? "memory" : "verify",
        .moving = true,
        .done = pages * XENSAVE_V2_PAGE_SIZE,
        .total = of * XENSAVE_V2_PAGE_SIZE,
    };
    char text[256];

    c->memory = figures.total;
    if (figures.phase != c->phase) {
        if (!c->phase)
            c->begun = monotonic_seconds();
        c->phase = figures.phase;
        rate_begin(&c->rate);
    }
    if (monotonic_seconds() - c->shown < SHOWN_EVERY)
        return;
    c->shown = monotonic_seconds();
    figures.rate = rate_sample(&c->rate, figures.done);
    figures_bar(&figures, terminal_width(STDERR_FILENO), text, sizeof(text));
    fprintf(stderr, "\r\033[K%s", text);
    fflush(stderr);
}

static void end_progress(const struct to_core *c)
{
    if (c->phase)
        fputs("\r\033[K", stderr);
}

static void say_done(const struct to_core *c)
{
    char text[256];

    if (!c->phase)
        return;
    figures_ended(c->memory, 0, monotonic_seconds() - c->begun, text,
                  sizeof(text));
    report("%s dumped to %s: %s", c->in_name, c->out_name, text);
}

static int write_core(struct to_core *c)
{
    struct core_domain *domain = core_savefile_domain(c->core);
    bool share = c->target.final && !c->options.no_sparse;
    struct core_result result;
    struct xensave_error sink_error;
    struct xensave_sink *sink;
    int rc;

    if (c->options.no_sparse && c->target.final)
        c->io.reserve = core_size(domain, c->options.format);
    sink = c->out_is_file ? xensave_sink_open_file(c->out, &c->io, &sink_error)
                          : xensave_sink_open_stream(c->out, &sink_error);
    if (!sink) {
        report_about(c->out_name, sink_error.text);
        return -1;
    }
    rc = core_write(sink, domain,
                    core_savefile_memory(c->core, share ? c->out : -1),
                    &c->options, &result, &c->error);
    end_progress(c);
    if (rc)
        report_about(c->out_name, c->error.text);
    /* Space that was reserved but not needed. */
    else if (c->io.reserve && ftruncate(c->out, xensave_sink_offset(sink)))
        rc = out_failed(c, "truncating");
    else if (xensave_fd_sync(c->out))
        rc = out_failed(c, "syncing");
    xensave_sink_free(sink);
    return rc;
}

static int to_core(struct to_core *c)
{
    int r = savefile_open(&c->in, c->in_name);

    c->in_name = c->in.name;
    if (r) {
        report_about(c->in_name, c->in.error.text);
        return STATUS_FAILED;
    }
    if (open_output(c))
        return STATUS_FAILED;
    c->core = core_savefile_open(c->in.fd, &c->in.probed, &c->options,
                                 &c->error);
    if (!c->core) {
        end_progress(c);
        report_about(c->in_name, c->error.text);
        return STATUS_FAILED;
    }
    if (write_core(c))
        return STATUS_FAILED;
    return c->target.final ? target_commit(&c->target) : STATUS_OK;
}

static int to_core_run(const struct command *self, int argc, char **argv)
{
    struct to_core c = { .out = -1,
                         .in.fd = -1,
                         .target = TARGET_INIT,
                         .io = XENSAVE_IO_OPTIONS_INIT };
    bool quiet = false;
    int opt, status;

    while ((opt = command_option(self, argc, argv, &status)) != -1) {
        switch (opt) {
        case OPTION_DONE:
            return status;
        case OPTION_CORE_FORMAT:
            if (core_format_parse(optarg, &c.options.format))
                return command_misuse(self,
                                      "--format=%s: the value must be "
                                      "one of xen elf",
                                      optarg);
            break;
        case OPTION_NO_SPARSE:
            c.options.no_sparse = true;
            break;
        case OPTION_IO:
            if (xensave_io_parse(optarg, &c.io.io))
                return command_misuse(self,
                                      "--io=%s: the value must be one "
                                      "of auto direct window buffered",
                                      optarg);
            break;
        case OPTION_FORCE:
            c.force = true;
            break;
        case 'q':
            quiet = true;
            break;
        }
    }
    if (argc - optind != 2)
        return command_misuse(self, "expected SAVEFILE COREFILE");
    c.in_name = argv[optind];
    c.out_name = argv[optind + 1];
    status = command_refuse_standard(self, c.out_name, "");
    if (status)
        return status;
    if (!quiet && isatty(STDERR_FILENO)) {
        c.options.progress = show_progress;
        c.options.progress_context = &c;
    }

    status = to_core(&c);
    if (status == STATUS_OK)
        say_done(&c);
    else
        target_abandon(&c.target);
    partial_signals_end(&c.target.file);
    core_savefile_free(c.core);
    savefile_close(&c.in);
    if (c.out >= 0)
        close(c.out);
    target_close(&c.target);
    return status;
}

/* clang-format off */
const struct command command_to_core = {
    .name = "to-core",
    .arguments = "[OPTION...] SAVEFILE COREFILE",
    .summary = "Write the memory of a saved domain as a core",
    .details =
        "  --format=FORMAT        xen: what Xen's own tools read (default)\n"
        "                         elf: for crash, drgn, gdb and the like\n"
        "  --no-sparse            write zero pages too; no holes\n"
        "  --io=HOW               how it is written:\n"
        "                         auto direct window buffered\n"
        FORCE_HELP("a core")
        "  -q, --quiet            no progress on a terminal\n"
        "\n"
        "Exit status: 0 the core is whole, 1 there is none.\n"
        "\n",
    .short_options = "q",
    .long_options = (const struct option[]){
        { "format", required_argument, NULL, OPTION_CORE_FORMAT },
        { "no-sparse", no_argument, NULL, OPTION_NO_SPARSE },
        { "quiet", no_argument, NULL, 'q' },
        FORCE_OPTION, IO_OPTION, HELP_OPTION },
    .run = to_core_run,
};
/* clang-format on */
