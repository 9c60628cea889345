/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "operation/settings.h"
#include "head.h"
#include "savefile.h"
#include "target.h"
#include "tail.h"

#define BUFFER (1U << 20)
/* Image header, domain header and 8 bytes: the decoder knows the format. */
#define FIRST 48

struct conversion {
    enum xensave_format to;
    struct xensave_compression compression;
    bool force;

    const char *in_name;
    struct savefile in; /* in.fd; probed if in_is_file */
    bool in_is_file;    /* or a block device: it can be looked at */
    struct xensave_error in_error;
    struct xensave_source *source;
    struct xensave_decoder *decoder;
    struct head head;
    unsigned char first[FIRST]; /* of the v2 stream */

    const char *out_name;
    struct target target; /* not if the output is stdout */
    int out;
    bool out_is_file;      /* or a block device: it can be rewritten */
    uint64_t libxl_offset; /* in the output */
    struct xensave_error out_error;
    struct xensave_sink *sink;
    struct xensave_encoder *encoder;
};

static int in_failed(const struct conversion *c)
{
    report_about(c->in_name, c->in_error.text);
    return -1;
}

static int out_failed(const struct conversion *c)
{
    report_about(c->out_name, c->out_error.text);
    return -1;
}

static int out_failed_errno(const struct conversion *c, const char *doing)
{
    report("%s: %s: %s", c->out_name, doing, strerror(errno));
    return -1;
}

static bool is_file_mode(mode_t mode)
{
    return S_ISREG(mode) || S_ISBLK(mode);
}

/* ---- input -------------------------------------------------------------- */

static int open_input(struct conversion *c)
{
    bool is_stdin = is_standard(c->in_name);
    struct stat st;
    int fd;

    if (is_stdin)
        c->in_name = "standard input";
    fd = is_stdin ? fcntl(0, F_DUPFD_CLOEXEC, 3)
                  : open(c->in_name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        report("%s: %s", c->in_name, strerror(errno));
        return -1;
    }
    c->in.fd = fd;
    /* A shell may have read the beginning of a file that is stdin. */
    c->in_is_file = is_file_mode(st.st_mode) && lseek(fd, 0, SEEK_CUR) == 0;
    if (!c->in_is_file)
        return 0;
    if (savefile_attach(&c->in, c->in_name, fd)) {
        c->in_error = c->in.error;
        return in_failed(c);
    }
    if (xensave_file_check(fd, &c->in.probed, &c->in_error))
        return in_failed(c);
    return 0;
}

static int read_head(struct conversion *c)
{
    const struct xensave_io_options options = XENSAVE_IO_OPTIONS_INIT;
    c->source = c->in_is_file
                    ? xensave_source_open_file(c->in.fd, &options,
                                               &c->in_error)
                    : xensave_source_open_stream(c->in.fd, &c->in_error);
    if (!c->source || head_read(&c->head, c->source, &c->in_error))
        return in_failed(c);
    c->decoder = xensave_decoder_new(c->source);
    if (!c->decoder || xensave_decoder_read(c->decoder, c->first, FIRST))
        return in_failed(c);
    if (head_strip_padding(&c->head, xensave_decoder_head_padding(c->decoder),
                           &c->in_error))
        return in_failed(c);
    return 0;
}

/* ---- output ------------------------------------------------------------- */

static int open_output(struct conversion *c)
{
    struct replace replace = { .in = c->in.fd };
    struct partial_kind kind = replace_kind(&replace, c->force);
    struct domain_config config;
    struct stat st;
    int flags;

    if (is_standard(c->out_name)) {
        c->out_name = "standard output";
        if (isatty(1)) {
            report("standard output is a terminal; name a file");
            return -1;
        }
        c->out = fcntl(1, F_DUPFD_CLOEXEC, 3);
        return c->out < 0 ? out_failed_errno(c, "opening") : 0;
    }
    head_config(&c->head, &config);
    replace_set_domain(&replace, config.name);
    if (target_open(&c->target, c->out_name, &kind) != STATUS_OK)
        return -1;
    partial_signals_begin(&c->target.file);
    if (fstat(c->in.fd, &st) == 0 && stat_same(&st, &c->target.file.st)) {
        report("%s and %s are the same", c->in_name, c->out_name);
        return -1;
    }
    c->out_is_file = is_file_mode(c->target.file.st.st_mode);
    flags = c->out_is_file ? O_RDWR : O_WRONLY;
    c->out = open(c->target.path, flags | O_CLOEXEC | O_NOCTTY);
    return c->out < 0 ? out_failed_errno(c, "opening") : 0;
}

static int write_head(struct conversion *c)
{
    size_t before = c->head.file.libxl_offset;
    uint32_t padding = 0;

    if (write_all(c->out, c->head.data, before))
        return out_failed_errno(c, "writing");
    if (c->to == XENSAVE_FORMAT_COMPAT && c->out_is_file &&
        xensave_file_align_head(c->out, &padding, &c->out_error))
        return out_failed(c);
    if (write_all(c->out, c->head.data + before, c->head.length - before))
        return out_failed_errno(c, "writing");
    c->libxl_offset = before + padding;

    const struct xensave_io_options io = XENSAVE_IO_OPTIONS_INIT;
    const struct xensave_encoder_options options = {
        .size = sizeof(struct xensave_encoder_options),
        .format = c->to,
        .head_padding = padding,
        .compression = {
            .codec = c->compression.codec,
            .level = c->compression.level,
            .all = true,
        },
        .identity = xensave_decoder_identity(c->decoder),
    };

    c->sink = c->out_is_file
                  ? xensave_sink_open_file(c->out, &io, &c->out_error)
                  : xensave_sink_open_stream(c->out, &c->out_error);
    if (!c->sink)
        return out_failed(c);
    c->encoder = xensave_encoder_new(c->sink, &options);
    return c->encoder ? 0 : out_failed(c);
}

/* ---- from one to the other ---------------------------------------------- */

static int convert_stream(struct conversion *c)
{
    void *buffer = xrealloc(NULL, BUFFER);
    int rc = -1;
    ssize_t r;

    memcpy(buffer, c->first, FIRST);
    for (r = FIRST; r > 0;
         r = xensave_decoder_read_some(c->decoder, buffer, BUFFER))
        if (xensave_encoder_push(c->encoder, buffer, r)) {
            out_failed(c);
            goto out;
        }
    if (r < 0) {
        in_failed(c);
        goto out;
    }
    if (!xensave_encoder_ended(c->encoder)) {
        report("%s: the stream has no END record", c->in_name);
        goto out;
    }
    rc = 0;

out:
    free(buffer);
    return rc;
}

static int convert_tail(struct conversion *c)
{
    const struct xensave_file *probed = &c->in.probed;
    struct tail tail = { .in = c->in.fd, .out = c->out, .limit = UINT64_MAX };
    off_t at;

    if (c->in_is_file && probed->format == XENSAVE_FORMAT_V3 &&
        probed->header.state == XENSAVE_STATE_COMPLETE) {
        at = lseek(c->in.fd, 0, SEEK_CUR);
        tail.limit = at < 0 || (uint64_t)at > probed->header.file_length
                         ? 0
                         : probed->header.file_length - at;
    } else {
        tail.stop_at_end = c->in_is_file && probed->is_device;
    }
    if (tail_copy(&tail, &c->in_error))
        return in_failed(c);
    if (!tail.ended) {
        report("%s: cut off: libxl's END record is missing at the end",
               c->in_name);
        return -1;
    }
    return 0;
}

static int commit(struct conversion *c)
{
    struct xensave_file written;
    off_t length;

    if (!c->out_is_file)
        return xensave_fd_sync(c->out)
                   ? out_failed_errno(c, "bringing it to stable storage")
                   : 0;
    length = lseek(c->out, 0, SEEK_CUR);
    if (length < 0)
        return out_failed_errno(c, "seeking");
    if (xensave_file_probe(c->out, c->libxl_offset, &written, &c->out_error) ||
        xensave_file_commit(c->out, &written, length, &c->out_error))
        return out_failed(c);
    return target_commit(&c->target) == STATUS_OK ? 0 : -1;
}

static int convert(struct conversion *c)
{
    int rc;

    c->in.fd = c->out = -1;
    c->target = (struct target)TARGET_INIT;
    rc = open_input(c);
    if (rc)
        goto out;
    /* Before there is an output: a pipe's head says what it is. */
    rc = read_head(c);
    if (rc)
        goto out;
    rc = open_output(c);
    if (rc)
        goto out;
    rc = write_head(c);
    if (rc)
        goto out;
    rc = convert_stream(c);
    if (rc)
        goto out;
    rc = convert_tail(c);
    if (rc)
        goto out;
    rc = commit(c);

out:
    xensave_encoder_free(c->encoder);
    xensave_sink_free(c->sink);
    xensave_decoder_free(c->decoder);
    xensave_source_free(c->source);
    head_free(&c->head);
    partial_signals_end(&c->target.file);
    if (rc)
        target_abandon(&c->target);
    target_close(&c->target);
    if (c->out >= 0 && close(c->out) < 0 && !rc)
        rc = out_failed_errno(c, "closing");
    savefile_close(&c->in);
    return rc;
}

/* ---- the command -------------------------------------------------------- */

enum { OPTION_TO = OPTION_LONG, OPTION_COMPRESS };

static int take_option(const struct command *self, struct conversion *c,
                       int opt, const char *value)
{
    if (opt == OPTION_TO && xensave_format_parse(value, &c->to))
        return command_misuse(self,
                              "--to=%s: the value must be one of "
                              "v2 compat v3",
                              value);
    if (opt == OPTION_COMPRESS &&
        xensave_compression_parse(value, &c->compression))
        return command_misuse(self,
                              "--compress=%s: the value must be one of %s",
                              value, settings_table[SETTING_COMPRESS].words);
    return STATUS_OK;
}

static int convert_run(const struct command *self, int argc, char **argv)
{
    struct conversion c = { 0 };
    bool to_given = false;
    int opt, status;

    while ((opt = command_option(self, argc, argv, &status)) != -1) {
        if (opt == OPTION_DONE)
            return status;
        status = take_option(self, &c, opt, optarg);
        if (status)
            return status;
        to_given |= opt == OPTION_TO;
        c.force |= opt == OPTION_FORCE;
    }
    if (!to_given)
        return command_misuse(self,
                              "expected --to=v2, --to=compat or --to=v3");
    if (c.compression.codec && c.to != XENSAVE_FORMAT_V3)
        return command_misuse(self,
                              "--compress=%s: only v3 can be "
                              "compressed, not %s",
                              xensave_codec_name(c.compression.codec),
                              xensave_format_name(c.to));
    if (argc - optind != 2)
        return command_misuse(self, "expected IN OUT");
    c.in_name = argv[optind];
    c.out_name = argv[optind + 1];
    return convert(&c) ? STATUS_FAILED : STATUS_OK;
}

/* clang-format off */
const struct command command_convert = {
    .name = "convert",
    .arguments = "--to=FORMAT [OPTION...] IN OUT",
    .summary = "Turn a save file into another format",
    .details =
        "  --to=FORMAT            v2 compat v3\n"
        COMPRESS_HELP
        FORCE_HELP("a save file, or one of\n"
        "                         another domain")
        "\n"
        "OUT may be IN: it is replaced when the new one is whole.\n"
        "IN and OUT are files, devices or pipes; - is standard input or "
        "output.\n"
        "\n"
        "Exit status: 0 OUT is whole, 1 it is not.\n"
        "\n",
    .short_options = "",
    .long_options = (const struct option[]){
        { "to", required_argument, NULL, OPTION_TO },
        { "compress", required_argument, NULL, OPTION_COMPRESS },
        FORCE_OPTION, HELP_OPTION },
    .run = convert_run,
};
/* clang-format on */
