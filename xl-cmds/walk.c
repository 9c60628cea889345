/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "walk.h"

/* Holds the header and the pfns of a full batch. */
#define WINDOW 16384

struct walk {
    int fd;
    const struct xensave_file *savefile;
    walk_function *function;
    void *context;
    struct xensave_error *error;
    uint64_t records;
    uint64_t offset; /* in the file, of the next record */
    uint64_t base;   /* of what is in the window */
    size_t filled;
    unsigned char window[WINDOW];
};

/* ---- names -------------------------------------------------------------- */

struct record_name {
    uint32_t type;
    const char *name;
};

static const struct record_name libxc_names[] = {
    { XENSAVE_V2_RECORD_END, "END" },
    { XENSAVE_V2_RECORD_PAGE_DATA, "PAGE_DATA" },
    { 0x02, "X86_PV_INFO" },
    { 0x03, "X86_PV_P2M_FRAMES" },
    { 0x04, "X86_PV_VCPU_BASIC" },
    { 0x05, "X86_PV_VCPU_EXTENDED" },
    { 0x06, "X86_PV_VCPU_XSAVE" },
    { 0x07, "SHARED_INFO" },
    { 0x08, "X86_TSC_INFO" },
    { 0x09, "HVM_CONTEXT" },
    { 0x0a, "HVM_PARAMS" },
    { 0x0b, "TOOLSTACK" },
    { 0x0c, "X86_PV_VCPU_MSRS" },
    { 0x0d, "VERIFY" },
    { 0x0e, "CHECKPOINT" },
    { 0x0f, "CHECKPOINT_DIRTY_PFN_LIST" },
    { 0x10, "STATIC_DATA_END" },
    { 0x11, "X86_CPUID_POLICY" },
    { 0x12, "X86_MSR_POLICY" },
    { XENSAVE_RECORD_HEADER, "ALIGNED_HEADER" },
    { XENSAVE_RECORD_PAGE_DATA, "ALIGNED_PAGE_DATA" },
    { XENSAVE_RECORD_PADDING, "PADDING" },
    { XENSAVE_RECORD_INDEX, "ALIGNED_INDEX" },
    { XENSAVE_RECORD_CHECK, "ALIGNED_CHECK" },
    { 0, NULL },
};

static const struct record_name libxl_names[] = {
    { 0, "END" },
    { 1, "LIBXC_CONTEXT" },
    { 2, "EMULATOR_XENSTORE_DATA" },
    { 3, "EMULATOR_CONTEXT" },
    { 4, "CHECKPOINT_END" },
    { 5, "CHECKPOINT_STATE" },
    { 0, NULL },
};

const char *walk_record_name(const struct walk_record *record)
{
    const struct record_name *at = record->layer == WALK_LIBXC ? libxc_names
                                                               : libxl_names;

    while (at->name && at->type != record->type)
        at++;
    return at->name;
}

uint64_t walk_record_octets(const struct walk_record *record)
{
    uint64_t body = ((uint64_t)record->length + 7) & ~7ULL;

    return sizeof(struct xensave_v2_record_header) + body;
}

/* ---- reading ------------------------------------------------------------ */

static int __attribute__((format(printf, 3, 4)))
fail(struct walk *walk, int errnum, const char *format, ...)
{
    struct xensave_error *error = walk->error;
    char what[256];
    va_list ap;

    va_start(ap, format);
    vsnprintf(what, sizeof(what), format, ap);
    va_end(ap);
    error->errnum = errnum;
    error->has_offset = true;
    error->offset = walk->offset;
    error->record = walk->records;
    snprintf(error->text, sizeof(error->text),
             "offset %" PRIu64 ", record %" PRIu64 ": %s", walk->offset,
             walk->records, what);
    return -1;
}

/* `length` octets at a file offset, at most WINDOW; NULL after fail(). */
static const void *look(struct walk *walk, uint64_t offset, size_t length)
{
    ssize_t r;

    if (offset >= walk->base && offset + length <= walk->base + walk->filled)
        return walk->window + (offset - walk->base);

    walk->base = offset;
    walk->filled = 0;
    while (walk->filled < length) {
        r = pread(walk->fd, walk->window + walk->filled, WINDOW - walk->filled,
                  offset + walk->filled);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0) {
            fail(walk, errno, "reading the file: %s", strerror(errno));
            return NULL;
        }
        if (!r) {
            fail(walk, ENODATA,
                 "the file ends at %" PRIu64
                 ", in the midst of a record; it is not whole",
                 offset + walk->filled);
            return NULL;
        }
        walk->filled += r;
    }
    return walk->window;
}

/* ---- batches ------------------------------------------------------------ */

/*
 * Counts pages; both kinds of batch have the same pfns but for ZERO.  1 if a
 * reserved bit is set, -1 if the pfns cannot be read.
 */
static int count_pfns(struct walk *walk, uint64_t offset, uint64_t zero_bit,
                      struct walk_record *record)
{
    const uint64_t reserved = XENSAVE_V2_PFN_RESERVED & ~zero_bit;
    const uint32_t step = WINDOW / sizeof(uint64_t);
    uint32_t done, n, i;

    for (done = 0; done < record->pfns; done += n) {
        const unsigned char *at;

        n = record->pfns - done < step ? record->pfns - done : step;
        at = look(walk, offset + (uint64_t)done * sizeof(uint64_t),
                  n * sizeof(uint64_t));
        if (!at)
            return -1;
        for (i = 0; i < n; i++) {
            uint64_t pfn;

            memcpy(&pfn, at + i * sizeof(pfn), sizeof(pfn));
            if (pfn & reserved)
                return 1;
            if (pfn >> XENSAVE_V2_PFN_TYPE_SHIFT >= XENSAVE_V2_PFN_TYPE_BROKEN)
                continue;
            if (pfn & zero_bit)
                record->zero_pages++;
            else
                record->pages++;
        }
    }
    return 0;
}

/* One that is not as Xen writes it (spec 3.3) is a record like others. */
static int look_at_page_data(struct walk *walk, struct walk_record *record)
{
    uint64_t body = record->offset + sizeof(struct xensave_v2_record_header);
    const struct walk_record plain = *record;
    struct xensave_v2_page_data_header header;
    uint64_t pfns, contents;
    const void *at;
    int r;

    if (record->length < sizeof(header))
        return 0;
    at = look(walk, body, sizeof(header));
    if (!at)
        return -1;
    memcpy(&header, at, sizeof(header));
    pfns = body + sizeof(header);
    contents = pfns + (uint64_t)header.count * sizeof(uint64_t);
    if (!header.count || header.count > XENSAVE_BATCH_MAX || header.reserved ||
        contents > body + record->length)
        return 0;
    record->pfns = header.count;
    r = count_pfns(walk, pfns, 0, record);
    if (r < 0)
        return -1;
    if (r || contents + (uint64_t)record->pages * XENSAVE_V2_PAGE_SIZE !=
                 body + record->length)
        *record = plain;
    else if (record->pages)
        record->page_offset = contents;
    record->stored = (uint64_t)record->pages * XENSAVE_V2_PAGE_SIZE;
    return 0;
}

static int look_at_contents(struct walk *walk, struct walk_record *record,
                            const struct xensave_aligned_page_data *header)
{
    uint64_t before = sizeof(*header) + (uint64_t)header->count * 8 +
                      header->pad_length;

    if (before > record->length)
        return fail(walk, EBADMSG,
                    "ALIGNED_PAGE_DATA with %u octets of "
                    "padding in %u; the file is damaged",
                    header->pad_length, record->length);
    record->codec = header->flags & XENSAVE_BATCH_CODEC_MASK;
    record->stored = record->length - before;
    if (record->pages)
        record->page_offset = record->offset +
                              sizeof(struct xensave_v2_record_header) + before;
    return 0;
}

static int look_at_aligned(struct walk *walk, struct walk_record *record)
{
    uint64_t body = record->offset + sizeof(struct xensave_v2_record_header);
    struct xensave_aligned_page_data header;
    const void *at;
    int r;

    if (record->length < sizeof(header))
        return fail(walk, EBADMSG, "ALIGNED_PAGE_DATA is too short");
    at = look(walk, body, sizeof(header));
    if (!at)
        return -1;
    memcpy(&header, at, sizeof(header));
    record->pfns = header.count;
    if (header.count > XENSAVE_BATCH_MAX ||
        sizeof(header) + (uint64_t)header.count * 8 > record->length)
        return fail(walk, EBADMSG,
                    "ALIGNED_PAGE_DATA with %u pfns in %u "
                    "octets; the file is damaged",
                    header.count, record->length);
    r = count_pfns(walk, body + sizeof(header), XENSAVE_PFN_ZERO, record);
    if (r < 0)
        return -1;
    if (r)
        return fail(walk, EBADMSG,
                    "ALIGNED_PAGE_DATA has reserved bits set "
                    "in a pfn; the file is damaged");
    if (record->pages != header.pages)
        return fail(walk, EBADMSG,
                    "ALIGNED_PAGE_DATA says %u pages, its "
                    "pfns say %u; the file is damaged",
                    header.pages, record->pages);
    return look_at_contents(walk, record, &header);
}

static const struct batch_kind {
    uint32_t type;
    int (*look_at)(struct walk *walk, struct walk_record *record);
} batch_kinds[] = {
    { XENSAVE_V2_RECORD_PAGE_DATA, look_at_page_data },
    { XENSAVE_RECORD_PAGE_DATA, look_at_aligned },
};

/* ---- records ------------------------------------------------------------ */

static int next_record(struct walk *walk, enum walk_layer layer,
                       struct walk_record *record)
{
    struct xensave_v2_record_header header;
    const void *at;
    size_t i;

    at = look(walk, walk->offset, sizeof(header));
    if (!at)
        return -1;
    memcpy(&header, at, sizeof(header));
    *record = (struct walk_record){
        .layer = layer,
        .offset = walk->offset,
        .type = header.type,
        .length = header.length,
    };
    if (header.length > XENSAVE_V2_RECORD_MAX)
        return fail(walk, EBADMSG,
                    "a record of type 0x%08x claims %u "
                    "octets; the file is damaged",
                    header.type, header.length);
    if (walk->savefile->file_size - walk->offset < walk_record_octets(record))
        return fail(walk, ENODATA,
                    "the file ends at %" PRIu64
                    ", in the midst of a record; it is not whole",
                    walk->savefile->file_size);
    for (i = 0; layer == WALK_LIBXC &&
                i < sizeof(batch_kinds) / sizeof(batch_kinds[0]);
         i++)
        if (batch_kinds[i].type == header.type &&
            batch_kinds[i].look_at(walk, record))
            return -1;
    walk->function(record, walk->context);
    walk->records++;
    walk->offset += walk_record_octets(record);
    return 0;
}

/* Up to and including END, whose type is 0 in both layers. */
static int walk_layer(struct walk *walk, enum walk_layer layer)
{
    struct walk_record record;

    do {
        if (next_record(walk, layer, &record))
            return -1;
    } while (record.type != XENSAVE_V2_RECORD_END);
    return 0;
}

int walk_savefile(int fd, const struct xensave_file *savefile,
                  walk_function *function, void *context,
                  struct walk_result *result, struct xensave_error *error)
{
    struct walk *walk = malloc(sizeof(*walk));
    int rc = -1;

    *result = (struct walk_result){ 0 };
    if (!walk) {
        error->errnum = ENOMEM;
        snprintf(error->text, sizeof(error->text), "out of memory");
        return -1;
    }
    walk->fd = fd;
    walk->savefile = savefile;
    walk->function = function;
    walk->context = context;
    walk->error = error;
    walk->records = 0;
    walk->base = walk->filled = 0;
    walk->offset = savefile->stream_start +
                   sizeof(struct xensave_v2_image_header) +
                   sizeof(struct xensave_v2_domain_header);
    /* The pages between the records need not be read ahead. */
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);

    if (walk_layer(walk, WALK_LIBXC))
        goto out;
    result->stream_end = result->tail_offset = walk->offset;
    if (walk_layer(walk, WALK_LIBXL)) {
        result->tail_offset = walk->offset;
        goto out;
    }
    result->tail_end = result->tail_offset = walk->offset;
    rc = 0;

out:
    posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL);
    free(walk);
    return rc;
}
