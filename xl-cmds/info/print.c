/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "info.h"

#define LABEL "  %-11s "

/* Text from the file must not control the terminal. */
static void print_text(const char *text)
{
    char *shown = printable(text);

    fputs(shown, stdout);
    free(shown);
}

/* "4 KiB", "1.5 GiB". */
static const char *size_text(uint64_t bytes, char text[32])
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB",
                                         "TiB",   "PiB", "EiB" };
    double value = bytes;
    unsigned unit = 0;

    while (value >= 1024 && unit < sizeof(units) / sizeof(units[0]) - 1) {
        value /= 1024;
        unit++;
    }
    snprintf(text, 32, value == (uint64_t)value ? "%.0f %s" : "%.1f %s", value,
             units[unit]);
    return text;
}

static void print_bytes(const char *label, uint64_t bytes)
{
    char text[32];

    printf(LABEL "%" PRIu64 " bytes", label, bytes);
    if (bytes >= 1024)
        printf(" (%s)", size_text(bytes, text));
}

static void print_format(const struct info *info)
{
    const struct xensave_file *probed = &info->file.probed;
    char file_id[33];

    printf(LABEL "%s", "format", xensave_format_name(probed->format));
    if (probed->format == XENSAVE_FORMAT_V3)
        printf(", stream version %" PRIu32 " (readers from %" PRIu32 " on)",
               probed->header.version, probed->header.min_reader_version);
    putchar('\n');
    if (probed->format != XENSAVE_FORMAT_V3)
        return;
    info_file_id(info, file_id);
    printf(LABEL "%s\n", "file id", file_id);
}

static void print_state(const struct info *info)
{
    const struct xensave_file *probed = &info->file.probed;

    printf(LABEL, "state");
    if (!info->checked)
        printf("unknown: %s has no mark of completeness\n",
               xensave_format_name(probed->format));
    else if (!info->whole)
        say("%s: %s",
            probed->header.state == XENSAVE_STATE_COMPLETE
                ? "damaged"
                : info_state_name(probed->header.state),
            info->check_text);
    else if (probed->header.state == XENSAVE_STATE_COMPLETE)
        puts("complete; length, head and tail are intact");
    else
        printf("%s; no checksums of head and tail\n",
               info_state_name(probed->header.state));
}

static void print_domain(const struct info *info)
{
    const struct domain_config *config = &info->config;
    char text[32];

    printf(LABEL, "domain");
    if (!config->parsed) {
        printf("%s, no readable configuration\n", info_guest_type(info));
        return;
    }
    print_text(config->name[0] ? config->name : "(no name)");
    printf(", %s", info_guest_type(info));
    if (config->memory_kib >= 0)
        printf(", %s", size_text((uint64_t)config->memory_kib << 10, text));
    if (config->vcpus >= 0)
        printf(", %lld vCPU%s", config->vcpus, config->vcpus == 1 ? "" : "s");
    putchar('\n');
}

static void print_identity(const struct info *info)
{
    const char *label = "identity";
    char line[XENSAVE_IDENTITY_MAX + 1];
    const char *at = info->identity;

    while (info_identity_line(&at, line)) {
        printf(LABEL, label);
        print_text(line);
        putchar('\n');
        label = "";
    }
}

static void print_layout(const struct info *info)
{
    const struct xensave_file *probed = &info->file.probed;

    if (probed->is_device) {
        print_bytes("device", probed->file_size);
        putchar('\n');
    } else {
        print_bytes("file", probed->file_size);
        putchar('\n');
    }
    print_bytes("head", probed->stream_start);
    printf(", of %s", probed->xl_head ? "xl" : "a toolstack other than xl");
    if (probed->head_padding)
        printf(", %" PRIu32 " of padding", probed->head_padding);
    putchar('\n');
    if (info->stream_end) {
        print_bytes("stream", info->stream_end - probed->stream_start);
        putchar('\n');
    }
    if (info->stream_end && info->length >= info->stream_end) {
        print_bytes("tail", info->length - info->stream_end);
        puts(info->tail_end ? "" : ", cut off before its END");
    }
}

static void print_compression(const struct info *info)
{
    const struct info_codec *packed = info->packed;
    char before[32], after[32];
    const char *label = "compression";

    for (uint32_t i = 0; i < XENSAVE_CODECS; i++, packed++) {
        if (!packed->batches)
            continue;
        printf(LABEL "%s: %" PRIu64 " of %" PRIu64 " batches, %s in %s "
                     "(%.1f %%)\n",
               label, xensave_codec_name(i), packed->batches,
               info->page_batches,
               size_text(packed->pages * XENSAVE_V2_PAGE_SIZE, before),
               size_text(packed->stored, after),
               100.0 * packed->stored /
                   (packed->pages * XENSAVE_V2_PAGE_SIZE));
        label = "";
    }
}

static void print_alignment(const struct info *info)
{
    uint32_t alignment = info_alignment(info);
    uint64_t plain = info_plain_pages(info);
    const char *label = "alignment";

    if (plain) {
        printf(LABEL "%" PRIu64 " of %" PRIu64 " %s pages on a multiple "
                     "of %u\n",
               label, info->aligned_pages, plain,
               plain == info->pages ? "stored" : "uncompressed",
               XENSAVE_V2_PAGE_SIZE);
        label = "";
    }
    if (alignment != XENSAVE_V2_PAGE_SIZE || plain != info->pages)
        printf(LABEL "%" PRIu64 " of %" PRIu64 " batches begin on a "
                     "multiple of %" PRIu32 "\n",
               label, info->aligned_batches, info->page_batches, alignment);
}

static void print_pages(const struct info *info)
{
    uint64_t bare = info->pfns - info->pages - info->zero_pages;
    double percent;

    printf(LABEL "%" PRIu64 " stored, %" PRIu64 " zero and elided, %" PRIu64
                 " without contents\n",
           "pages", info->pages, info->zero_pages, bare);
    print_compression(info);
    if (info->pages)
        print_alignment(info);
    if (info_overhead(info, &percent))
        printf(LABEL "%.2f %% beside the stored pages\n", "overhead", percent);
}

static void print_type_name(const struct xensave_record *record)
{
    const char *name = xensave_layer_record_name(record->layer, record->type);
    char number[32];

    snprintf(number, sizeof(number), "type 0x%08" PRIx32, record->type);
    printf("  %-26s", name ? name : number);
}

static void print_types(const struct info *info)
{
    const struct info_type *type;
    enum xensave_layer layer = XENSAVE_LAYER_LIBXC;

    printf("\n  %-26s%10s%18s\n", "record", "count", "bytes");
    for (type = info->types; type < info->types + info->type_count; type++) {
        if (type->first.layer != layer) {
            layer = type->first.layer;
            printf("  %-26s\n", "of libxl, in the tail:");
        }
        print_type_name(&type->first);
        printf("%10" PRIu64 "%18" PRIu64 "\n", type->count, type->bytes);
    }
    if (info->other_types)
        printf("  %-26s%10" PRIu64 "\n", "more types", info->other_types);
}

static void print_records(const struct info *info)
{
    const struct xensave_record *record;

    printf("\n  %-26s%14s%11s%6s%6s%6s\n", "record", "offset", "bytes", "pfns",
           "pages", "zero");
    for (size_t i = 0; i < info->kept_count; i++) {
        record = &info->kept[i];
        print_type_name(record);
        printf("%14" PRIu64 "%11" PRIu64, record->offset,
               xensave_record_bytes(record));
        if (record->batch.count)
            printf("%6" PRIu32 "%6" PRIu32 "%6" PRIu32, record->batch.count,
                   record->batch.pages, record->zero_pages);
        putchar('\n');
    }
}

void info_print(const struct info *info)
{
    const struct xensave_file *probed = &info->file.probed;

    print_text(info->name);
    putchar('\n');
    print_format(info);
    print_state(info);
    print_domain(info);
    printf(LABEL "Xen %" PRIu16 ".%" PRIu16 ", libxc image version %" PRIu32
                 "\n",
           "written by", probed->xen_major, probed->xen_minor,
           probed->image_version);
    print_identity(info);
    print_layout(info);
    print_pages(info);
    print_types(info);
    if (info->keep_records)
        print_records(info);
}
