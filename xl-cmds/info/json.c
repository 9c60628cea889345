/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "info.h"
#include "xl-cmds/json.h"

static void put_amount(yajl_gen gen, const char *key, long long value)
{
    if (value >= 0)
        json_number(gen, key, value);
    else
        json_null(gen, key);
}

static void put_domain(yajl_gen gen, const struct info *info)
{
    const struct domain_config *config = &info->config;

    json_optional_text(gen, "domain", config->name);
    json_optional_text(gen, "uuid", config->uuid);
    json_text(gen, "guest_type", info_guest_type(info));
    put_amount(gen, "memory_kib", config->memory_kib);
    put_amount(gen, "max_memory_kib", config->max_memory_kib);
    put_amount(gen, "vcpus", config->vcpus);
}

static void put_layout(yajl_gen gen, const struct info *info)
{
    const struct xensave_file *probed = &info->file.probed;

    json_open_map(gen, "head");
    json_text(gen, "toolstack", probed->xl_head ? "xl" : "other");
    json_number(gen, "length", probed->stream_start);
    json_number(gen, "padding_length", probed->head_padding);
    if (probed->xl_head) {
        json_number(gen, "config_offset", probed->config_offset);
        json_number(gen, "config_length", probed->config_length);
    }
    json_number(gen, "libxl_offset", probed->libxl_offset);
    yajl_gen_map_close(gen);

    json_open_map(gen, "stream");
    json_number(gen, "offset", probed->stream_start);
    if (info->stream_end)
        json_number(gen, "length", info->stream_end - probed->stream_start);
    else
        json_null(gen, "length");
    json_number(gen, "record_count", info->records);
    json_number(gen, "batches", info->batches);
    yajl_gen_map_close(gen);

    if (!info->stream_end) {
        json_null(gen, "tail");
        return;
    }
    json_open_map(gen, "tail");
    json_number(gen, "offset", info->stream_end);
    if (info->length >= info->stream_end)
        json_number(gen, "length", info->length - info->stream_end);
    else
        json_null(gen, "length");
    json_truth(gen, "has_end", info->tail_end != 0);
    yajl_gen_map_close(gen);
}

/* Spec 3.7: each line is key=value. */
static void put_identity(yajl_gen gen, const struct info *info)
{
    char line[XENSAVE_IDENTITY_MAX + 1], *value;
    const char *at = info->identity;

    json_open_array(gen, "identity");
    while (info_identity_line(&at, line)) {
        value = strchr(line, '=');
        *value = '\0';
        yajl_gen_map_open(gen);
        json_text(gen, "key", line);
        json_text(gen, "value", value + 1);
        yajl_gen_map_close(gen);
    }
    yajl_gen_array_close(gen);
}

static void put_v3(yajl_gen gen, const struct info *info)
{
    const struct xensave_aligned_header *header = &info->file.probed.header;
    char features[24], file_id[33];

    if (info->file.probed.format != XENSAVE_FORMAT_V3) {
        json_null(gen, "v3");
        return;
    }
    json_open_map(gen, "v3");
    json_number(gen, "version", header->version);
    json_number(gen, "min_reader_version", header->min_reader_version);
    snprintf(features, sizeof(features), "0x%" PRIx64,
             header->mandatory_features);
    json_text(gen, "mandatory_features", features);
    snprintf(features, sizeof(features), "0x%" PRIx64,
             header->optional_features);
    json_text(gen, "optional_features", features);
    info_file_id(info, file_id);
    json_text(gen, "file_id", file_id);
    put_identity(gen, info);
    json_number(gen, "alignment", header->alignment);
    json_text(gen, "state", info_state_name(header->state));
    json_number(gen, "stream_start", header->stream_start);
    json_number(gen, "stream_length", header->stream_length);
    json_number(gen, "file_length", header->file_length);
    json_number(gen, "index_offset", header->index_offset);
    json_number(gen, "batches", header->batches);
    json_number(gen, "pages_stored", header->pages_stored);
    json_number(gen, "pages_zero", header->pages_zero);
    yajl_gen_map_close(gen);
}

/* null: the format has no mark of completeness. */
static void put_whole(yajl_gen gen, const struct info *info)
{
    if (!info->checked) {
        json_null(gen, "whole");
        return;
    }
    json_truth(gen, "whole", info->whole);
    if (!info->whole)
        json_text(gen, "reason", info->check_text);
}

/* One element for each that there is. */
static void put_compression(yajl_gen gen, const struct info *info)
{
    const struct info_codec *packed = info->packed;

    json_open_array(gen, "compressed");
    for (uint32_t i = 0; i < XENSAVE_CODECS; i++, packed++) {
        if (!packed->batches)
            continue;
        yajl_gen_map_open(gen);
        json_text(gen, "compression", xensave_codec_name(i));
        json_number(gen, "batches", packed->batches);
        json_number(gen, "pages_stored", packed->pages);
        json_number(gen, "bytes_stored", packed->stored);
        yajl_gen_map_close(gen);
    }
    yajl_gen_array_close(gen);
}

static void put_pages(yajl_gen gen, const struct info *info)
{
    double percent;

    json_number(gen, "pfns", info->pfns);
    json_number(gen, "pages_stored", info->pages);
    json_number(gen, "pages_zero", info->zero_pages);
    json_number(gen, "pages_without_contents",
                info->pfns - info->pages - info->zero_pages);
    json_number(gen, "pages_aligned", info->aligned_pages);
    json_number(gen, "pages_compressed", info->pages - info_plain_pages(info));
    json_number(gen, "bytes_stored", info->stored);
    put_compression(gen, info);
    json_number(gen, "batches_with_pages", info->page_batches);
    json_number(gen, "alignment", info_alignment(info));
    json_number(gen, "batches_aligned", info->aligned_batches);
    if (info_overhead(info, &percent))
        json_real(gen, "overhead_percent", percent);
    else
        json_null(gen, "overhead_percent");
}

static void put_type(yajl_gen gen, const struct xensave_record *record)
{
    json_text(gen, "layer",
              record->layer == XENSAVE_LAYER_LIBXC ? "libxc" : "libxl");
    json_number(gen, "record_type", record->type);
    json_text(gen, "record_name",
              xensave_layer_record_name(record->layer, record->type));
}

static void put_records(yajl_gen gen, const struct info *info)
{
    const struct info_type *type;
    const struct xensave_record *record;

    json_open_array(gen, "record_types");
    for (type = info->types; type < info->types + info->type_count; type++) {
        yajl_gen_map_open(gen);
        put_type(gen, &type->first);
        json_number(gen, "record_count", type->count);
        json_number(gen, "length", type->bytes);
        yajl_gen_map_close(gen);
    }
    yajl_gen_array_close(gen);
    json_number(gen, "records_of_more_types", info->other_types);
    if (!info->keep_records)
        return;
    json_open_array(gen, "records");
    for (size_t i = 0; i < info->kept_count; i++) {
        record = &info->kept[i];
        yajl_gen_map_open(gen);
        put_type(gen, record);
        json_number(gen, "offset", record->offset);
        json_number(gen, "length", xensave_record_bytes(record));
        if (record->batch.count) {
            json_number(gen, "pfns", record->batch.count);
            json_number(gen, "pages_stored", record->batch.pages);
            json_number(gen, "pages_zero", record->zero_pages);
        }
        if (record->batch.pages) {
            json_number(gen, "page_offset", record->batch.page_offset);
            json_number(gen, "bytes_stored", record->batch.stored);
        }
        if (record->batch.pages && xensave_codec_name(record->codec))
            json_text(gen, "compression", xensave_codec_name(record->codec));
        yajl_gen_map_close(gen);
    }
    yajl_gen_array_close(gen);
}

static void put_contents(yajl_gen gen, const struct info *info)
{
    const struct xensave_file *probed = &info->file.probed;

    json_text(gen, "format", xensave_format_name(probed->format));
    put_whole(gen, info);
    json_number(gen, "length", probed->file_size);
    json_truth(gen, "device", probed->is_device);
    json_number(gen, "xen_major", probed->xen_major);
    json_number(gen, "xen_minor", probed->xen_minor);
    json_number(gen, "image_version", probed->image_version);
    put_domain(gen, info);
    put_layout(gen, info);
    put_v3(gen, info);
    put_pages(gen, info);
    put_records(gen, info);
}

int info_print_json(const struct info *infos, size_t count)
{
    yajl_gen gen = json_begin();
    const struct info *info;

    if (!gen)
        return -1;
    yajl_gen_array_open(gen);
    for (info = infos; info < infos + count; info++) {
        yajl_gen_map_open(gen);
        json_text(gen, "file", info->name);
        json_optional_text(gen, "error", info->error);
        if (info->readable)
            put_contents(gen, info);
        yajl_gen_map_close(gen);
    }
    yajl_gen_array_close(gen);
    return json_end(gen);
}
