/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What acts in Xen before ALIGNED_CHECK is read: verified beforehand, through
 * the index or, without one, by the walk (spec 6).
 */
#include <inttypes.h>
#include <unistd.h>

#include "stream-v3/codec/checksum.h"
#include "index.h"
#include "walk.h"

struct content {
    const struct xensave_file *savefile;
    struct xensave_error *error;
    struct xensave_reader reader;
    struct xensave_checksum part, context;
    uint64_t number; /* of the current record */
    struct xensave_aligned_check seen;
};

static int bad(struct content *content, uint64_t offset, const char *what)
{
    return xensave_fail_at(content->error, EBADMSG, offset, content->number,
                           "%s; the file is damaged", what);
}

static int unreadable(struct content *content, uint64_t offset)
{
    return xensave_fail_at(content->error, errno, offset, content->number,
                           "cannot read the file: %s",
                           errno == ENODATA ? "it is cut off"
                                            : strerror(errno));
}

static const uint8_t *look(struct content *content, uint64_t offset,
                           size_t length)
{
    const uint8_t *bytes = xensave_reader_look(&content->reader, offset,
                                               length);

    if (!bytes)
        unreadable(content, offset);
    return bytes;
}

/* Spec 3.6: of a record that is no batch and no index. */
static int checksum_record(struct content *content, uint64_t offset,
                           uint32_t length, uint64_t *checksum)
{
    uint64_t end = offset + sizeof(struct xensave_v2_record_header) + length +
                   record_padding(length);

    xensave_checksum_reset(&content->part);
    xensave_checksum_add(&content->part, content->savefile->header.file_id,
                         XENSAVE_FILE_ID);
    if (xensave_reader_checksum(&content->reader, &content->part, &offset,
                                end))
        return unreadable(content, offset);
    *checksum = xensave_checksum_get(&content->part);
    return 0;
}

/* ---- with an index ------------------------------------------------------ */

static int by_index(struct content *content)
{
    const uint64_t start = content->savefile->stream_start;
    struct xensave_index *index = xensave_index_load(content->reader.fd,
                                                     content->savefile,
                                                     content->error);
    const struct xensave_index_record *record;
    uint64_t checksum;
    int r = index ? 0 : -1;

    for (size_t i = 0; !r && i < index->record_count; i++) {
        record = &index->records[i];
        r = checksum_record(content, start + record->offset, record->length,
                            &checksum);
        if (!r && checksum != record->checksum)
            r = xensave_fail(content->error, EBADMSG,
                             "%s record at offset %" PRIu64
                             " does not match its checksum; the file is "
                             "damaged",
                             xensave_record_name(record->type) ?: "unknown",
                             start + record->offset);
    }
    xensave_index_free(index);
    return r;
}

/* ---- without ------------------------------------------------------------ */

static int add_record(struct content *content,
                      const struct xensave_record *record)
{
    const uint8_t *bytes;
    uint64_t checksum;

    if (record->type == XENSAVE_RECORD_HEADER)
        return 0;
    if (record->type == XENSAVE_RECORD_PAGE_DATA) {
        checksum = record->batch.checksum;
        content->seen.batches++;
        content->seen.pages_stored += record->batch.pages;
        content->seen.pages_zero += record->zero_pages;
    } else if (record->type == XENSAVE_RECORD_INDEX) {
        bytes = look(content,
                     record->offset + sizeof(struct xensave_v2_record_header) +
                         offsetof(struct xensave_aligned_index, checksum),
                     sizeof(checksum));
        if (!bytes)
            return -1;
        memcpy(&checksum, bytes, sizeof(checksum));
    } else if (checksum_record(content, record->offset, record->length,
                               &checksum)) {
        return -1;
    }
    xensave_checksum_add(&content->context, &checksum, sizeof(checksum));
    return 0;
}

static int verify_check(struct content *content, uint64_t offset)
{
    struct {
        struct xensave_v2_record_header record;
        struct xensave_aligned_check check;
    } tail;
    const uint8_t *bytes = look(content, offset, sizeof(tail));

    if (!bytes)
        return -1;
    memcpy(&tail, bytes, sizeof(tail));
    content->seen.records = content->number;
    xensave_checksum_add(&content->context, &tail,
                         sizeof(tail) - sizeof(tail.check.checksum));
    content->seen.checksum = xensave_checksum_get(&content->context);
    if (memcmp(&tail.check, &content->seen, sizeof(tail.check)))
        return bad(content, offset,
                   "what is not page data does not match ALIGNED_CHECK");
    return 0;
}

static int by_walk(struct content *content)
{
    struct xensave_walk *walk = xensave_walk_new(content->reader.fd,
                                                 content->savefile,
                                                 content->error);
    const uint8_t *heads = walk
                               ? look(content, content->savefile->stream_start,
                                      XENSAVE_STREAM_HEADERS)
                               : NULL;
    struct xensave_record record;
    int r = heads ? 0 : -1;

    if (!r) {
        xensave_checksum_add(&content->context,
                             content->savefile->header.file_id,
                             XENSAVE_FILE_ID);
        xensave_checksum_add(&content->context, heads, XENSAVE_STREAM_HEADERS);
    }
    for (; !r; content->number++) {
        if (xensave_walk_next(walk, &record) < 0)
            r = -1;
        else if (record.type == XENSAVE_V2_RECORD_END)
            break;
        else if (record.type == XENSAVE_RECORD_CHECK)
            r = verify_check(content, record.offset);
        else
            r = add_record(content, &record);
    }
    xensave_walk_free(walk);
    return r;
}

int xensave_content_check(int fd, const struct xensave_file *savefile,
                          struct xensave_error *error)
{
    struct content content = { .savefile = savefile, .error = error };
    int r = -1;

    xensave_reader_init(&content.reader, fd, true);
    if (xensave_checksum_init(&content.part) ||
        xensave_checksum_init(&content.context)) {
        xensave_fail(error, ENOMEM, "out of memory");
        goto out;
    }
    xensave_checksum_reset(&content.context);
    r = savefile->header.index_offset ? by_index(&content) : by_walk(&content);
out:
    xensave_checksum_free(&content.part);
    xensave_checksum_free(&content.context);
    xensave_reader_close(&content.reader);
    return r;
}
