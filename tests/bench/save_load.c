/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes a save stream by the calls that libxenguest makes, from a memory
 * image the size of a guest.  With the helper-side library preloaded and
 * XL_ALIGNED_STREAM set it is a save with the plugin; without, a stock save.
 * The hypercalls are not here.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "load.h"

/* The record types of a PVH guest, in Xen's order. */
#define TSC_INFO        0x08U
#define HVM_CONTEXT     0x09U
#define HVM_PARAMS      0x0aU
#define STATIC_DATA_END 0x10U
#define CPUID_POLICY    0x11U
#define MSR_POLICY      0x12U

/* Small records between batches: one after so many. */
#define BATCHES_PER_RECORD 64

struct arrays { /* libxenguest's, for one batch */
    uint64_t *mfns, *types, *pfns;
    int *errors;
    void **guest_data, **local_pages;
    struct iovec *iov;
};

struct save {
    struct load_options options;
    int fd;
    struct load_image image;
    uint8_t *capture;
    struct arrays arrays; /* Xen's master keeps them */
    uint64_t batches, empty_batches, pages;
    /* inproc */
    struct xensave_error error;
    struct xensave_sink *sink;
    struct xensave_encoder *encoder;
};

/* ---- the two ways to write ---------------------------------------------- */

static int emit(struct save *save, const struct iovec *iov, int iovcnt)
{
    if (!save->encoder)
        return writev_exact(save->fd, iov, iovcnt);
    if (!xensave_encoder_pushv(save->encoder, iov, iovcnt))
        return 0;
    errno = save->error.errnum;
    fprintf(stderr, "%s\n", save->error.text);
    return -1;
}

static int emit_one(struct save *save, const void *data, size_t length)
{
    struct iovec iov = { (void *)data, length };

    return save->encoder ? emit(save, &iov, 1)
                         : write_exact(save->fd, data, length);
}

static int inproc_open(struct save *save)
{
    struct xensave_encoder_options options = {
        .size = sizeof(struct xensave_encoder_options),
        .head_padding = load_number("BENCH_HEAD_PADDING", 0),
    };

    if (xensave_format_parse(save->options.inproc, &options.format))
        return load_fail("BENCH_INPROC");
    save->sink = xensave_sink_open_file(save->fd, &save->options.io,
                                        &save->error);
    if (save->sink)
        save->encoder = xensave_encoder_new(save->sink, &options);
    if (save->encoder)
        return 0;
    fprintf(stderr, "%s\n", save->error.text);
    return -1;
}

static void inproc_close(struct save *save)
{
    xensave_encoder_free(save->encoder);
    xensave_sink_free(save->sink);
    save->encoder = NULL;
    save->sink = NULL;
}

/* ---- records ------------------------------------------------------------ */

static int write_headers(struct save *save)
{
    const struct xensave_v2_image_header image = {
        .marker = XENSAVE_V2_IMAGE_MARKER,
        .id = htobe32(XENSAVE_V2_IMAGE_ID),
        .version = htobe32(3),
    };
    const struct xensave_v2_domain_header domain = { XENSAVE_V2_GUEST_HVM, 12,
                                                     0, 4, 17 };

    if (emit_one(save, &image, sizeof(image)))
        return -1;
    return emit_one(save, &domain, sizeof(domain));
}

static int write_record(struct save *save, uint32_t type, const void *data,
                        uint32_t length)
{
    static const uint8_t zeros[8];
    const struct iovec parts[] = {
        { &type, sizeof(type) },        { &length, sizeof(length) },
        { (void *)data, length },       { NULL, 0 },
        { (void *)zeros, -length & 7 },
    };

    return emit(save, parts, 5);
}

static int write_context(struct save *save, uint32_t type, uint32_t length)
{
    static uint64_t bytes[4096];

    for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++)
        bytes[i] = i * 0x9e3779b97f4a7c15ULL * type;
    return write_record(save, type, bytes, length);
}

/* ---- batches ------------------------------------------------------------ */

static int arrays_get(struct arrays *arrays, uint32_t count)
{
    arrays->mfns = malloc(count * sizeof(*arrays->mfns));
    arrays->types = malloc(count * sizeof(*arrays->types));
    arrays->errors = malloc(count * sizeof(*arrays->errors));
    arrays->guest_data = calloc(count, sizeof(*arrays->guest_data));
    arrays->local_pages = calloc(count, sizeof(*arrays->local_pages));
    arrays->iov = malloc((count + 4) * sizeof(*arrays->iov));
    arrays->pfns = malloc(count * sizeof(*arrays->pfns));
    if (arrays->mfns && arrays->types && arrays->errors &&
        arrays->guest_data && arrays->local_pages && arrays->iov &&
        arrays->pfns)
        return 0;
    return load_fail("batch");
}

static void arrays_put(struct arrays *arrays)
{
    free(arrays->pfns);
    free(arrays->iov);
    free(arrays->local_pages);
    free(arrays->guest_data);
    free(arrays->errors);
    free(arrays->types);
    free(arrays->mfns);
}

/* Headers and pfns in as many entries as the version of Xen uses. */
static int head_entries(struct iovec *iov, bool merged, void *record,
                        void *pfns, uint32_t count)
{
    uint8_t *bytes = record;

    if (merged) {
        iov[0] = (struct iovec){ bytes, 16 };
        iov[1] = (struct iovec){ pfns, 8 * count };
        return 2;
    }
    iov[0] = (struct iovec){ bytes, 4 };
    iov[1] = (struct iovec){ bytes + 4, 4 };
    iov[2] = (struct iovec){ bytes + 8, 8 };
    iov[3] = (struct iovec){ pfns, 8 * count };
    return 4;
}

static int page_entry(struct iovec *iov, int iovcnt, bool merged, void *page)
{
    struct iovec *last = &iov[iovcnt - 1];

    if (merged && (uint8_t *)last->iov_base + last->iov_len == page) {
        last->iov_len += PAGE;
        return iovcnt;
    }
    iov[iovcnt] = (struct iovec){ page, PAGE };
    return iovcnt + 1;
}

/* What libxenguest finds out about the pfns; the number of pages. */
static uint32_t look_up(struct save *save, uint64_t first, uint32_t count)
{
    struct arrays *arrays = &save->arrays;
    uint32_t pages = 0;

    for (uint32_t i = 0; i < count; i++) {
        bool has = pfn_has_page(&save->options, first + i);

        arrays->types[i] = has ? 0 : TYPE_XTAB << 60;
        arrays->pfns[i] = arrays->types[i] | (first + i);
        if (has)
            arrays->mfns[pages++] = pfn_to_index(first + i);
    }
    return pages;
}

static int write_batch(struct save *save, uint64_t first, uint32_t count)
{
    bool merged = save->options.merged;
    struct {
        struct xensave_v2_record_header record;
        struct xensave_v2_page_data_header page_data;
    } head = { { XENSAVE_V2_RECORD_PAGE_DATA, 0 }, { count, 0 } };
    struct arrays *arrays = &save->arrays;
    uint64_t index = pfn_to_index(first);
    uint8_t *mapping = NULL;
    uint32_t pages;
    int iovcnt, r = -1;

    if (!merged && arrays_get(arrays, count))
        return -1;
    pages = look_up(save, first, count);
    if (pages) {
        mapping = load_batch_map(&save->image, index, count, false);
        if (!mapping)
            goto out;
    }
    head.record.length = sizeof(head.page_data) + 8 * count + pages * PAGE;
    iovcnt = head_entries(arrays->iov, merged, &head, arrays->pfns, count);
    for (uint32_t i = 0; i < pages; i++) {
        arrays->guest_data[i] = mapping + (arrays->mfns[i] - index) * PAGE;
        iovcnt = page_entry(arrays->iov, iovcnt, merged,
                            arrays->guest_data[i]);
    }
    r = emit(save, arrays->iov, iovcnt);
    save->batches++;
    save->empty_batches += !pages;
    save->pages += pages;
out:
    load_batch_unmap(&save->image, mapping, count);
    if (!merged)
        arrays_put(arrays);
    return r;
}

static int write_memory(struct save *save)
{
    uint64_t end = save->options.pages, count;
    int r = 0;

    if (end > HOLE_BEGIN)
        end += HOLE_END - HOLE_BEGIN;
    if (save->options.pvh && end < PVH_PFNS)
        end = PVH_PFNS;
    for (uint64_t pfn = 0; pfn < end && !r; pfn += count) {
        count = end - pfn < XENSAVE_BATCH_MAX ? end - pfn : XENSAVE_BATCH_MAX;
        /* Without empty batches: nothing is written for the hole. */
        if (!save->options.pvh && pfn >= HOLE_BEGIN && pfn < HOLE_END)
            continue;
        r = write_batch(save, pfn, count);
        if (!r && save->batches % BATCHES_PER_RECORD == 0)
            r = write_context(save, TSC_INFO, 24);
    }
    return r;
}

static int write_guest(struct save *save)
{
    if (write_headers(save) || write_context(save, CPUID_POLICY, 64 * 24) ||
        write_context(save, MSR_POLICY, 5 * 16) ||
        write_record(save, STATIC_DATA_END, NULL, 0) || write_memory(save) ||
        write_context(save, TSC_INFO, 24) ||
        write_context(save, HVM_CONTEXT, 8923) ||
        write_context(save, HVM_PARAMS, 8 + 20 * 16))
        return -1;
    return write_record(save, XENSAVE_V2_RECORD_END, NULL, 0);
}

/* ---- a captured guest --------------------------------------------------- */

/* The v2 stream lies in save->capture; walks and writes it. */
static int replay_record(struct save *save, uint8_t *record)
{
    struct xensave_v2_record_header *head = (void *)record;
    struct xensave_v2_page_data_header *page_data = (void *)(head + 1);
    uint64_t *pfns = (uint64_t *)(page_data + 1);
    uint8_t *page;
    int iovcnt, r;

    if (head->type != XENSAVE_V2_RECORD_PAGE_DATA)
        return write_record(save, head->type, head + 1, head->length);
    if (page_data->count > XENSAVE_BATCH_MAX) {
        errno = EBADMSG;
        return -1;
    }
    if (!save->options.merged && arrays_get(&save->arrays, page_data->count))
        return -1;
    iovcnt = head_entries(save->arrays.iov, save->options.merged, record, pfns,
                          page_data->count);
    page = (uint8_t *)(pfns + page_data->count);
    r = page < record + sizeof(*head) + head->length;
    for (uint32_t i = 0; i < page_data->count; i++) {
        if (pfns[i] >> XENSAVE_V2_PFN_TYPE_SHIFT >= XENSAVE_V2_PFN_TYPE_BROKEN)
            continue;
        iovcnt = page_entry(save->arrays.iov, iovcnt, save->options.merged,
                            page);
        page += PAGE;
        save->pages++;
    }
    save->batches++;
    save->empty_batches += !r;
    r = emit(save, save->arrays.iov, iovcnt);
    if (!save->options.merged)
        arrays_put(&save->arrays);
    return r;
}

static int replay(struct save *save)
{
    uint8_t *at = save->capture, *next;
    struct xensave_v2_record_header *head;

    if (emit_one(save, at, sizeof(struct xensave_v2_image_header)))
        return -1;
    at += sizeof(struct xensave_v2_image_header);
    if (emit_one(save, at, sizeof(struct xensave_v2_domain_header)))
        return -1;
    at += sizeof(struct xensave_v2_domain_header);
    for (;; at = next) {
        head = (void *)at;
        next = at + sizeof(*head) + ((head->length + 7ULL) & ~7ULL);
        if (replay_record(save, at))
            return -1;
        if (head->type == XENSAVE_V2_RECORD_END)
            return 0;
    }
}

static int load_capture(struct save *save)
{
    int fd = open(save->options.capture, O_RDONLY);
    struct xensave_file file;
    uint64_t length;
    ssize_t r = 1;

    if (fd < 0 || xensave_file_probe(fd, UINT64_MAX, &file, &save->error)) {
        fprintf(stderr, "%s: %s\n", save->options.capture,
                fd < 0 ? strerror(errno) : save->error.text);
        return -1;
    }
    length = file.file_size - file.stream_start;
    save->capture = malloc(length);
    if (!save->capture)
        return load_fail(save->options.capture);
    /*
     * Page contents follow records of 8 bytes: they are not on boundaries of
     * pages, and not mapped, as those of a guest would be.
     */
    for (uint64_t done = 0; done < length && r > 0; done += r)
        r = pread(fd, save->capture + done, length - done,
                  file.stream_start + done);
    close(fd);
    save->options.digest = false;
    return r > 0 ? 0 : load_fail(save->options.capture);
}

/* ---- behind the stream -------------------------------------------------- */

/* What the toolstack does: libxl's END, and what makes it durable. */
static int finish(struct save *save)
{
    static const uint64_t libxl_end;
    struct xensave_file file;
    off_t length;
    int fd, r;

    if (write(save->fd, &libxl_end, sizeof(libxl_end)) < 0)
        return load_fail("tail");
    if (!strcmp(save->options.sync, "data"))
        return fdatasync(save->fd) ? load_fail("fdatasync") : 0;
    if (strcmp(save->options.sync, "commit"))
        return 0;
    length = lseek(save->fd, 0, SEEK_CUR);
    fd = fd_reopen(save->fd, O_RDWR);
    if (fd < 0)
        return load_fail("commit");
    r = xensave_file_probe(fd, UINT64_MAX, &file, &save->error) ||
        xensave_file_commit(fd, &file, length, &save->error);
    close(fd);
    if (r)
        fprintf(stderr, "%s\n", save->error.text);
    return r ? -1 : 0;
}

static int prepare(struct save *save)
{
    if (save->options.merged && arrays_get(&save->arrays, XENSAVE_BATCH_MAX))
        return -1;
    if (save->options.capture)
        return load_capture(save);
    if (load_image_open(&save->image, &save->options))
        return -1;
    return load_image_fill(&save->image, &save->options);
}

int main(int argc, char *argv[])
{
    struct save save = { .fd = load_fd(argc, argv, 8, "--save-domain") };
    struct load_meter meter;
    uint64_t digest = 0;
    char more[256];
    int r;

    if (save.fd < 0 || load_options_get(&save.options) || prepare(&save))
        return 1;
    if (save.options.digest)
        digest = load_image_digest(&save.image);

    load_meter_begin(&meter);
    r = save.options.inproc ? inproc_open(&save) : 0;
    if (!r)
        r = save.options.capture ? replay(&save) : write_guest(&save);
    if (r)
        load_fail("save");
    inproc_close(&save);
    load_meter_stream_end(&meter);
    if (r || finish(&save))
        return 1;
    load_meter_end(&meter);

    snprintf(more, sizeof(more),
             "\"batches\": %" PRIu64 ", "
             "\"empty_batches\": %" PRIu64 ", \"pages\": %" PRIu64 ", "
             "\"digest\": \"%016" PRIx64 "\"",
             save.batches, save.empty_batches, save.pages, digest);
    load_meter_report(&meter, more);
    return 0;
}
