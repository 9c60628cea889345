/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads a save stream by the calls that libxenguest makes, into a memory
 * image the size of a guest: the other half of save_load.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

struct restore {
    struct load_options options;
    int fd;
    struct load_image image;
    uint8_t *scratch; /* a batch; for captures */
    uint64_t batches, pages;
    /* inproc */
    struct xensave_error error;
    struct xensave_source *source;
    struct xensave_decoder *decoder;
};

static int take(struct restore *restore, void *data, size_t length)
{
    if (!restore->decoder)
        return read_exact(restore->fd, data, length);
    if (!xensave_decoder_read(restore->decoder, data, length))
        return 0;
    errno = restore->error.errnum;
    fprintf(stderr, "%s\n", restore->error.text);
    return -1;
}

static int inproc_open(struct restore *restore)
{
    restore->source = xensave_source_open_file(restore->fd,
                                               &restore->options.io,
                                               &restore->error);
    if (restore->source)
        restore->decoder = xensave_decoder_new(restore->source);
    if (restore->decoder)
        return 0;
    fprintf(stderr, "%s\n", restore->error.text);
    return -1;
}

static void inproc_close(struct restore *restore)
{
    xensave_decoder_free(restore->decoder);
    xensave_source_free(restore->source);
}

/* ---- pages -------------------------------------------------------------- */

static int bad(const char *what)
{
    errno = EBADMSG;
    return load_fail(what);
}

/* One page at a time, into memory that Xen has allocated already. */
static int place_pages(struct restore *restore, const uint64_t *pfns,
                       const uint32_t *types, uint32_t count,
                       const uint8_t *data)
{
    uint64_t *mfns = malloc(count * sizeof(*mfns));
    int *errors = malloc(count * sizeof(*errors));
    uint64_t pages = 0, index, span;
    uint8_t *mapping = NULL;
    int r = -1;

    if (!mfns || !errors)
        goto out;
    for (uint32_t i = 0; i < count; i++)
        if (types[i] < XENSAVE_V2_PFN_TYPE_BROKEN)
            mfns[pages++] = pfn_to_index(pfns[i]);
    r = 0;
    if (!pages)
        goto out;
    r = -1;
    /* The pfns of one batch are of one piece of 4 MiB, ascending. */
    index = mfns[0];
    span = mfns[pages - 1] - index + 1;
    if (restore->options.capture)
        mapping = restore->scratch;
    else if (span <= XENSAVE_BATCH_MAX)
        mapping = load_batch_map(&restore->image, index, span, true);
    if (!mapping)
        goto out;
    for (uint64_t i = 0; i < pages; i++, data += PAGE)
        memcpy(mapping +
                   (restore->options.capture ? i : mfns[i] - index) * PAGE,
               data, PAGE);
    if (!restore->options.capture)
        load_batch_unmap(&restore->image, mapping, span);
    restore->pages += pages;
    r = 0;
out:
    free(errors);
    free(mfns);
    return r ? load_fail("batch") : 0;
}

static int handle_page_data(struct restore *restore, const uint8_t *body,
                            uint32_t length)
{
    const struct xensave_v2_page_data_header *head = (const void *)body;
    const uint64_t *entry = (const void *)(head + 1);
    uint32_t *types, contents = 0;
    uint64_t *pfns;
    int r;

    if (length < sizeof(*head) || !head->count ||
        length < sizeof(*head) + 8ULL * head->count)
        return bad("PAGE_DATA");
    pfns = malloc(head->count * sizeof(*pfns));
    types = malloc(head->count * sizeof(*types));
    if (!pfns || !types)
        return load_fail("batch");
    for (uint32_t i = 0; i < head->count; i++) {
        pfns[i] = entry[i] & XENSAVE_V2_PFN_MASK;
        types[i] = entry[i] >> XENSAVE_V2_PFN_TYPE_SHIFT;
        contents += types[i] < XENSAVE_V2_PFN_TYPE_BROKEN;
    }
    r = length == sizeof(*head) + 8ULL * head->count + contents * PAGE
            ? place_pages(restore, pfns, types, head->count,
                          (const uint8_t *)(entry + head->count))
            : bad("PAGE_DATA");
    restore->batches++;
    free(types);
    free(pfns);
    return r;
}

/* ---- records ------------------------------------------------------------ */

/* 1: there are more. */
static int one_record(struct restore *restore)
{
    struct xensave_v2_record_header head;
    uint8_t *body = NULL;
    size_t length;
    int r = 0;

    if (take(restore, &head, sizeof(head)))
        return load_fail("record header");
    if (head.length > XENSAVE_V2_RECORD_MAX)
        return bad("record length");
    length = (head.length + 7ULL) & ~7ULL;
    if (length) {
        body = malloc(length);
        if (!body || take(restore, body, length)) {
            free(body);
            return load_fail("record");
        }
    }
    if (head.type == XENSAVE_V2_RECORD_PAGE_DATA)
        r = handle_page_data(restore, body, head.length);
    free(body);
    return r ? r : head.type != XENSAVE_V2_RECORD_END;
}

static int read_guest(struct restore *restore)
{
    struct xensave_v2_image_header image;
    struct xensave_v2_domain_header domain;
    int r;

    if (take(restore, &image, sizeof(image)) ||
        take(restore, &domain, sizeof(domain)))
        return load_fail("headers");
    if (image.marker != XENSAVE_V2_IMAGE_MARKER)
        return bad("image header");
    do {
        r = one_record(restore);
    } while (r > 0);
    return r;
}

/* Xen hands out memory before it is filled. */
static int prepare(struct restore *restore)
{
    restore->scratch = malloc((size_t)XENSAVE_BATCH_MAX * PAGE);
    if (!restore->scratch ||
        load_image_open(&restore->image, &restore->options))
        return -1;
    load_image_set(&restore->image, 0xa5);
    return 0;
}

int main(int argc, char *argv[])
{
    struct restore restore = {
        .fd = load_fd(argc, argv, 11, "--restore-domain"),
    };
    struct load_meter meter;
    uint64_t digest = 0;
    char more[256];
    int r;

    if (restore.fd < 0 || load_options_get(&restore.options) ||
        prepare(&restore))
        return 1;

    load_meter_begin(&meter);
    r = restore.options.inproc ? inproc_open(&restore) : 0;
    if (!r)
        r = read_guest(&restore);
    inproc_close(&restore);
    load_meter_stream_end(&meter);
    load_meter_end(&meter);
    if (r)
        return 1;

    if (restore.options.digest)
        digest = load_image_digest(&restore.image);
    snprintf(more, sizeof(more),
             "\"batches\": %" PRIu64 ", "
             "\"pages\": %" PRIu64 ", \"digest\": \"%016" PRIx64 "\"",
             restore.batches, restore.pages, digest);
    load_meter_report(&meter, more);
    return 0;
}
