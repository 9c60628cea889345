/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "savefile.h"
#include "tail.h"

#define BUFFER (1U << 20)

/* In the order of precedence over several files. */
enum verdict { WHOLE, UNCHECKED, DAMAGED };

static const struct verdict_name {
    const char *name;
    const char *text;
    int status;
} verdicts[] = {
    [WHOLE] = { "whole", "whole", STATUS_OK },
    [UNCHECKED] = { "unchecked", "not checkable", STATUS_USAGE },
    [DAMAGED] = { "damaged", "damaged", STATUS_FAILED },
};

struct verification {
    const char *name;
    struct savefile file;
    bool probed;
    enum verdict verdict;
    struct xensave_totals totals;
    char text[600];
};

static int __attribute__((format(printf, 3, 4)))
judge(struct verification *v, enum verdict verdict, const char *format, ...)
{
    va_list ap;

    v->verdict = verdict;
    va_start(ap, format);
    vsnprintf(v->text, sizeof(v->text), format, ap);
    va_end(ap);
    return verdict == DAMAGED ? -1 : 0;
}

/* ---- checking ----------------------------------------------------------- */

/* Discards the v2 stream of the decoder, which checks every checksum. */
static int decode(struct verification *v)
{
    const struct xensave_io_options options = XENSAVE_IO_OPTIONS_INIT;
    struct xensave_error error = { 0 };
    struct xensave_source *source = NULL;
    struct xensave_decoder *decoder = NULL;
    void *buffer = xrealloc(NULL, BUFFER);
    int rc = -1;
    ssize_t r;

    if (lseek(v->file.fd, v->file.probed.stream_start, SEEK_SET) < 0) {
        judge(v, DAMAGED, "seeking: %s", strerror(errno));
        goto out;
    }
    source = xensave_source_open_file(v->file.fd, &options, &error);
    if (!source) {
        judge(v, DAMAGED, "%s", error.text);
        goto out;
    }
    decoder = xensave_decoder_new(source);
    if (!decoder) {
        judge(v, DAMAGED, "%s", error.text);
        goto out;
    }
    do {
        r = xensave_decoder_read_some(decoder, buffer, BUFFER);
    } while (r > 0);
    xensave_decoder_totals(decoder, &v->totals);
    if (r < 0) {
        judge(v, DAMAGED, "%s", error.text);
        goto out;
    }
    rc = 0;

out:
    xensave_decoder_free(decoder);
    xensave_source_free(source);
    free(buffer);
    return rc;
}

/* Compares ALIGNED_HEADER with what was found. */
static int compare_totals(struct verification *v)
{
    const struct xensave_aligned_header *header = &v->file.probed.header;
    const struct {
        const char *what;
        uint64_t said, found;
    } totals[] = {
        { "stream_length", header->stream_length, v->totals.bytes },
        { "batches", header->batches, v->totals.batches },
        { "pages_stored", header->pages_stored, v->totals.pages_stored },
        { "pages_zero", header->pages_zero, v->totals.pages_zero },
    };
    size_t i;

    if (v->file.probed.format != XENSAVE_FORMAT_V3 ||
        header->state != XENSAVE_STATE_COMPLETE)
        return 0;
    for (i = 0; i < sizeof(totals) / sizeof(totals[0]); i++)
        if (totals[i].said != totals[i].found)
            return judge(v, DAMAGED,
                         "ALIGNED_HEADER says %s is %" PRIu64
                         ", the stream has %" PRIu64,
                         totals[i].what, totals[i].said, totals[i].found);
    return 0;
}

static int check_tail(struct verification *v)
{
    const struct xensave_file *probed = &v->file.probed;
    struct tail tail = {
        .in = v->file.fd, .out = -1, .limit = UINT64_MAX, .stop_at_end = true
    };
    struct xensave_error error = { 0 };

    if (tail_copy(&tail, &error))
        return judge(v, DAMAGED, "%s", error.text);
    if (!tail.ended)
        return judge(v, DAMAGED,
                     "cut off: libxl's END record is missing at "
                     "the end, offset %" PRIu64 "; save the domain again",
                     probed->file_size);
    return 0;
}

static void verify(struct verification *v)
{
    struct xensave_error error = { 0 };
    int r = savefile_open(&v->file, v->name);

    v->name = v->file.name;
    if (r) {
        judge(v, v->file.opened ? DAMAGED : UNCHECKED, "%s",
              v->file.error.text);
        return;
    }
    v->probed = true;
    if (xensave_file_check(v->file.fd, &v->file.probed, &error))
        judge(v, DAMAGED, "%s", error.text);
    else if (decode(v) == 0 && compare_totals(v) == 0 && check_tail(v) == 0) {
        if (v->file.probed.format == XENSAVE_FORMAT_V2)
            judge(v, UNCHECKED,
                  "v2 has no checksums; its records are in "
                  "order");
        else if (v->file.probed.format == XENSAVE_FORMAT_COMPAT)
            judge(v, WHOLE,
                  "all pages are intact; compat has no other checksums");
        else if (v->file.probed.header.state == XENSAVE_STATE_STREAMED)
            judge(v, WHOLE,
                  "all records are intact; a v3 stream through a pipe has "
                  "no checksums of head and tail");
        else
            judge(v, WHOLE, "every byte is intact");
    }
    savefile_close(&v->file);
}

/* ---- saying it ---------------------------------------------------------- */

static void print(const struct verification *v)
{
    say("%s: %s: %s", v->name, verdicts[v->verdict].text, v->text);
}

static void put(yajl_gen gen, const struct verification *v)
{
    yajl_gen_map_open(gen);
    json_text(gen, "file", v->name);
    json_text(gen, "verdict", verdicts[v->verdict].name);
    json_text(gen, "reason", v->text);
    if (v->probed) {
        json_text(gen, "format", xensave_format_name(v->file.probed.format));
        json_number(gen, "batches", v->totals.batches);
        json_number(gen, "pages_stored", v->totals.pages_stored);
        json_number(gen, "pages_zero", v->totals.pages_zero);
        json_number(gen, "stream_length", v->totals.bytes);
        json_number(gen, "v2_length", v->totals.v2_bytes);
    }
    yajl_gen_map_close(gen);
}

enum { OPTION_JSON = OPTION_LONG };

static int verify_run(const struct command *self, int argc, char **argv)
{
    enum verdict worst = WHOLE;
    yajl_gen gen = NULL;
    bool json = false;
    int opt, i, r, status;

    while ((opt = command_option(self, argc, argv, &status)) != -1) {
        if (opt == OPTION_DONE)
            return status;
        json |= opt == OPTION_JSON;
    }
    if (optind == argc)
        return command_misuse(self, "expected FILE...");
    if (json) {
        gen = json_begin();
        if (!gen) {
            report("out of memory");
            return STATUS_FAILED;
        }
        yajl_gen_array_open(gen);
    }
    for (i = optind; i < argc; i++) {
        struct verification v = { .name = argv[i] };

        verify(&v);
        if (v.verdict > worst)
            worst = v.verdict;
        if (json)
            put(gen, &v);
        else
            print(&v);
        fflush(stdout);
    }
    if (json) {
        yajl_gen_array_close(gen);
        r = json_end(gen);
    } else {
        r = ferror(stdout) ? -1 : 0;
    }
    if (r) {
        report("writing to stdout: %s", strerror(errno));
        return STATUS_FAILED;
    }
    return verdicts[worst].status;
}

/* clang-format off */
const struct command command_verify = {
    .name = "verify",
    .arguments = "[OPTION...] FILE...",
    .summary = "Check every byte of a save file",
    .details =
        "  --json                 for programs; an array, one element a "
        "file\n"
        "\n"
        "Exit status: 0 all are whole, 1 one is damaged, 2 one cannot be "
        "checked.\n"
        "\n",
    .short_options = "",
    .long_options = (const struct option[]){
        { "json", no_argument, NULL, OPTION_JSON }, HELP_OPTION },
    .run = verify_run,
};
/* clang-format on */
