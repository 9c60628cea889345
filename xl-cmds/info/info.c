/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "info.h"

/* ---- collecting --------------------------------------------------------- */

static struct info_type *find_type(struct info *info,
                                   const struct xensave_record *record)
{
    struct info_type *type;

    for (type = info->types; type < info->types + info->type_count; type++)
        if (type->first.layer == record->layer &&
            type->first.type == record->type)
            return type;
    if (info->type_count == INFO_TYPES_MAX)
        return NULL;
    info->type_count++;
    type->first = *record;
    return type;
}

static void keep(struct info *info, const struct xensave_record *record)
{
    size_t n = info->kept_count;

    /* Doubled when full. */
    if (!(n & (n - 1)))
        info->kept = xrealloc(info->kept, (n ? 2 * n : 1) * sizeof(*record));
    info->kept[info->kept_count++] = *record;
}

static void count_batch(struct info *info, const struct xensave_record *record)
{
    info->batches++;
    info->pfns += record->batch.count;
    info->pages += record->batch.pages;
    info->zero_pages += record->zero_pages;
    if (!record->batch.pages)
        return;
    info->page_batches++;
    info->stored += record->batch.stored;
    if (record->codec != XENSAVE_CODEC_NONE &&
        record->codec < XENSAVE_CODECS) {
        info->packed[record->codec].batches++;
        info->packed[record->codec].pages += record->batch.pages;
        info->packed[record->codec].stored += record->batch.stored;
    } else if (record->batch.page_offset % XENSAVE_V2_PAGE_SIZE == 0) {
        /* The pages of a batch are contiguous: the first decides for all. */
        info->aligned_pages += record->batch.pages;
    }
    if (record->batch.page_offset % info_alignment(info) == 0)
        info->aligned_batches++;
}

static void take_identity(struct info *info,
                          const struct xensave_record *record)
{
    if (pread(info->file.fd, info->identity, record->length,
              record->offset + sizeof(struct xensave_v2_record_header)) !=
            (ssize_t)record->length ||
        !xensave_identity_from_body(info->identity, record->length))
        info->identity[0] = '\0';
}

static void add_record(struct info *info, const struct xensave_record *record)
{
    struct info_type *type = find_type(info, record);

    if (type) {
        type->count++;
        type->bytes += xensave_record_bytes(record);
    } else {
        info->other_types++;
    }
    if (info->keep_records)
        keep(info, record);
    if (record->layer == XENSAVE_LAYER_LIBXC) {
        info->records++;
        if (record->type == XENSAVE_RECORD_IDENTITY)
            take_identity(info, record);
        if (record->type == XENSAVE_V2_RECORD_PAGE_DATA ||
            record->type == XENSAVE_RECORD_PAGE_DATA)
            count_batch(info, record);
    }
}

static void check(struct info *info)
{
    struct xensave_error error = { 0 };

    if (info->file.probed.format != XENSAVE_FORMAT_V3)
        return;
    info->checked = true;
    info->whole = xensave_file_check(info->file.fd, &info->file.probed,
                                     &error) == 0;
    snprintf(info->check_text, sizeof(info->check_text), "%s", error.text);
}

/* A device is larger than its contents. */
static uint64_t content_length(const struct info *info)
{
    const struct xensave_file *probed = &info->file.probed;

    if (!probed->is_device)
        return probed->file_size;
    if (probed->format == XENSAVE_FORMAT_V3 &&
        probed->header.state == XENSAVE_STATE_COMPLETE)
        return probed->header.file_length;
    return info->tail_end;
}

static int walk_records(struct info *info)
{
    struct xensave_error error = { 0 };
    struct xensave_walk *walk = xensave_walk_new(info->file.fd,
                                                 &info->file.probed, &error);
    struct xensave_record record;
    int r = -1;

    while (walk && (r = xensave_walk_next(walk, &record)) > 0) {
        add_record(info, &record);
        if (record.type != XENSAVE_V2_RECORD_END)
            continue;
        if (record.layer == XENSAVE_LAYER_LIBXC)
            info->stream_end = record.offset + xensave_record_bytes(&record);
        else
            info->tail_end = record.offset + xensave_record_bytes(&record);
    }
    snprintf(info->error, sizeof(info->error), "%s", error.text);
    xensave_walk_free(walk);
    return r;
}

static int collect(struct info *info, const char *name)
{
    int rc;

    rc = savefile_open(&info->file, name);
    info->name = info->file.name;
    if (rc) {
        snprintf(info->error, sizeof(info->error), "%s",
                 info->file.error.text);
        return rc;
    }
    info->readable = true;
    savefile_config(&info->file, &info->config);
    check(info);
    rc = walk_records(info);
    info->length = content_length(info);
    savefile_close(&info->file);
    return rc;
}

/* ---- what follows from it ----------------------------------------------- */

bool info_overhead(const struct info *info, double *percent)
{
    double contents = (double)info->stored;

    if (!info->stored || !info->stream_end)
        return false;
    *percent = 100 *
               ((double)(info->stream_end - info->file.probed.stream_start) -
                contents) /
               contents;
    return true;
}

uint64_t info_plain_pages(const struct info *info)
{
    uint64_t pages = info->pages;

    for (uint32_t i = 0; i < XENSAVE_CODECS; i++)
        pages -= info->packed[i].pages;
    return pages;
}

uint32_t info_alignment(const struct info *info)
{
    const struct xensave_file *probed = &info->file.probed;

    if (probed->format == XENSAVE_FORMAT_V3 && probed->header.alignment)
        return probed->header.alignment;
    return XENSAVE_V2_PAGE_SIZE;
}

const char *info_state_name(uint32_t state)
{
    static const char *const names[] = {
        [XENSAVE_STATE_UNFINISHED] = "unfinished",
        [XENSAVE_STATE_STREAMED] = "streamed",
        [XENSAVE_STATE_COMPLETE] = "complete",
    };

    return state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

void info_file_id(const struct info *info, char text[33])
{
    const uint8_t *id = info->file.probed.header.file_id;

    for (int i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", id[i]);
}

bool info_identity_line(const char **at, char line[XENSAVE_IDENTITY_MAX + 1])
{
    size_t length = strcspn(*at, "\n");

    if (!length)
        return false;
    memcpy(line, *at, length);
    line[length] = '\0';
    *at += length + 1;
    return true;
}

const char *info_guest_type(const struct info *info)
{
    uint32_t type = info->file.probed.guest_type;

    if (type == XENSAVE_V2_GUEST_PV)
        return "PV";
    if (type != XENSAVE_V2_GUEST_HVM)
        return "?";
    /* The stream does not distinguish PVH from HVM; the configuration does. */
    return strcasecmp(info->config.type, "pvh") == 0 ? "PVH" : "HVM";
}

/* ---- the command -------------------------------------------------------- */

enum { OPTION_JSON = OPTION_LONG, OPTION_RECORDS };

static int info_run(const struct command *self, int argc, char **argv)
{
    bool json = false, records = false;
    struct info *infos;
    int opt, i, count, status;

    while ((opt = command_option(self, argc, argv, &status)) != -1) {
        if (opt == OPTION_DONE)
            return status;
        json |= opt == OPTION_JSON;
        records |= opt == OPTION_RECORDS;
    }
    count = argc - optind;
    if (count < 1)
        return command_misuse(self, "expected FILE...");

    infos = calloc(count, sizeof(*infos));
    if (!infos) {
        report("out of memory");
        return STATUS_FAILED;
    }
    status = STATUS_OK;
    for (i = 0; i < count; i++) {
        infos[i].keep_records = records;
        if (collect(&infos[i], argv[optind + i]))
            status = STATUS_FAILED;
        if (json)
            continue;
        if (infos[i].readable) {
            if (i)
                putchar('\n');
            info_print(&infos[i]);
        }
        if (infos[i].error[0])
            report_about(infos[i].name, infos[i].error);
    }
    if (json && info_print_json(infos, count))
        status = STATUS_FAILED;
    for (i = 0; i < count; i++)
        free(infos[i].kept);
    free(infos);
    if (fflush(stdout) || ferror(stdout)) {
        report("writing to stdout: %s", strerror(errno));
        status = STATUS_FAILED;
    }
    return status;
}

/* clang-format off */
const struct command command_info = {
    .name = "info",
    .arguments = "[OPTION...] FILE...",
    .summary = "Show what a save file holds",
    .details =
        "  --records              every record, and not only their sums\n"
        "  --json                 for programs; an array, one element a "
        "file\n"
        "\n"
        "Exit status: 0 all were read to their end, 1 one was not.\n"
        "\n",
    .short_options = "",
    .long_options = (const struct option[]){
        { "json", no_argument, NULL, OPTION_JSON },
        { "records", no_argument, NULL, OPTION_RECORDS },
        HELP_OPTION },
    .run = info_run,
};
/* clang-format on */
