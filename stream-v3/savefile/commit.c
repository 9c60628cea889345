/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whole or not: spec 5 step 5, spec 6. */
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "stream-v3/codec/checksum.h"
#include "savefile.h"

struct range {
    uint64_t begin, end;
    uint64_t *checksum;
};

static int checksum_range(struct xensave_reader *reader,
                          const struct range *range,
                          struct xensave_error *error)
{
    struct xensave_checksum checksum;
    uint64_t offset = range->begin;
    int r;

    if (range->end > range->begin &&
        range->end - range->begin > XENSAVE_SURROUNDINGS_MAX)
        return xensave_fail(error, EFBIG,
                            "%" PRIu64 " bytes from offset %" PRIu64
                            " on are not the stream's; no toolstack "
                            "writes more than 1 GiB there",
                            range->end - range->begin, range->begin);
    if (xensave_checksum_init(&checksum))
        return xensave_fail(error, ENOMEM,
                            "cannot allocate memory for a "
                            "checksum");
    xensave_checksum_reset(&checksum);
    r = xensave_reader_checksum(reader, &checksum, &offset, range->end);
    if (r)
        xensave_fail(error, errno, "cannot read back offset %" PRIu64 ": %s",
                     offset,
                     errno == ENODATA ? "the file is too short"
                                      : strerror(errno));
    *range->checksum = xensave_checksum_get(&checksum);
    xensave_checksum_free(&checksum);
    return r;
}

static int checksum_surroundings(int fd, const struct xensave_file *savefile,
                                 uint64_t file_length, uint64_t *head,
                                 uint64_t *tail, struct xensave_error *error)
{
    const struct range ranges[] = {
        { 0, savefile->stream_start, head },
        { savefile->stream_start + savefile->header.stream_length, file_length,
          tail },
    };
    struct xensave_reader reader;
    int r = 0;

    xensave_reader_init(&reader, fd, true);
    for (size_t i = 0; !r && i < ARRAY_SIZE(ranges); i++)
        r = checksum_range(&reader, &ranges[i], error);
    xensave_reader_close(&reader);
    return r;
}

PUBLIC int xensave_file_check(int fd, const struct xensave_file *savefile,
                              struct xensave_error *error)
{
    const struct xensave_aligned_header *header = &savefile->header;
    uint64_t head, tail;
    char name[256];

    memset(error, 0, sizeof(*error));
    if (savefile->format != XENSAVE_FORMAT_V3)
        return 0;
    if (header->state == XENSAVE_STATE_STREAMED)
        return xensave_content_check(fd, savefile, error);
    fd_name(fd, name, sizeof(name));
    if (header->state == XENSAVE_STATE_UNFINISHED)
        return xensave_fail(error, EBADMSG,
                            "%s is not complete: the save that "
                            "wrote it did not finish; it cannot be restored",
                            name);
    if (header->stream_start != savefile->stream_start)
        return xensave_fail(error, EBADMSG,
                            "%s: the stream starts at offset %" PRIu64
                            ", its header says %" PRIu64 "; the head was "
                            "changed",
                            name, savefile->stream_start,
                            header->stream_start);
    if (savefile->file_size < header->file_length ||
        (savefile->file_size > header->file_length && !savefile->is_device))
        return xensave_fail(error, EBADMSG,
                            "%s has %" PRIu64 " bytes instead "
                            "of %" PRIu64 ": it was %s",
                            name, savefile->file_size, header->file_length,
                            savefile->file_size < header->file_length
                                ? "cut off"
                                : "added to");
    if (checksum_surroundings(fd, savefile, header->file_length, &head, &tail,
                              error))
        return -1;
    if (head != header->head_checksum)
        return xensave_fail(error, EBADMSG,
                            "%s: the first %" PRIu64 " bytes "
                            "(toolstack header, configuration) do not match "
                            "their checksum; the file is damaged",
                            name, savefile->stream_start);
    if (tail != header->tail_checksum)
        return xensave_fail(error, EBADMSG,
                            "%s: the bytes from offset %" PRIu64
                            " on (device model records) do not match their "
                            "checksum; the file is damaged",
                            name,
                            header->stream_start + header->stream_length);
    return xensave_content_check(fd, savefile, error);
}

static int synced(int r, int fd, const char *what, struct xensave_error *error)
{
    char name[256];

    if (!r)
        return 0;
    r = errno;
    fd_name(fd, name, sizeof(name));
    return xensave_fail(error, r, "cannot %s %s: %s", what, name, strerror(r));
}

static uint64_t header_offset(const struct xensave_file *savefile)
{
    return savefile->stream_start + XENSAVE_STREAM_HEADERS;
}

/* With the fields of later versions, which `savefile` does not hold. */
static int read_header(int fd, const struct xensave_file *savefile,
                       struct xensave_header_record *header)
{
    uint64_t offset = header_offset(savefile);

    if (pread_exact(fd, &header->record, sizeof(header->record), offset))
        return -1;
    if (!xensave_header_length_fits(header->record.length)) {
        errno = EBADMSG;
        return -1;
    }
    return pread_exact(fd, &header->body, header->record.length,
                       offset + sizeof(header->record));
}

static int write_header(int fd, const struct xensave_file *savefile,
                        struct xensave_header_record *header)
{
    xensave_header_seal(header);
    return pwrite_exact(fd, header, xensave_header_length(header),
                        header_offset(savefile));
}

static int mark_complete(int fd, const struct xensave_file *savefile,
                         uint64_t file_length, struct xensave_error *error)
{
    struct xensave_header_record header;

    if (synced(read_header(fd, savefile, &header), fd, "read the header of",
               error))
        return -1;
    header.body = savefile->header;
    if (header.body.state != XENSAVE_STATE_UNFINISHED ||
        header.body.stream_length < XENSAVE_STREAM_LEAST ||
        savefile->stream_start > file_length ||
        header.body.stream_length > file_length - savefile->stream_start)
        return xensave_fail(error, EINVAL,
                            "the stream was not written to its "
                            "end; nothing to commit");
    if (checksum_surroundings(fd, savefile, file_length,
                              &header.body.head_checksum,
                              &header.body.tail_checksum, error))
        return -1;
    header.body.state = XENSAVE_STATE_COMPLETE;
    header.body.file_length = file_length;
    if (!synced(write_header(fd, savefile, &header), fd, "write the header of",
                error) &&
        !synced(fsync(fd), fd, "bring to stable storage", error))
        return 0;
    /* The domain keeps running: its file must not look whole. */
    header.body = savefile->header;
    if (write_header(fd, savefile, &header) || fdatasync(fd)) {
        size_t used = strlen(error->text);

        snprintf(error->text + used, sizeof(error->text) - used,
                 "; it may look whole all the same, do not restore it");
    }
    return -1;
}

PUBLIC int xensave_file_commit(int fd, const struct xensave_file *savefile,
                               uint64_t file_length,
                               struct xensave_error *error)
{
    memset(error, 0, sizeof(*error));
    if (!savefile->is_device &&
        synced(ftruncate(fd, file_length), fd, "truncate", error))
        return -1;
    if (savefile->format == XENSAVE_FORMAT_V3)
        return synced(fdatasync(fd), fd, "bring to stable storage", error)
                   ? -1
                   : mark_complete(fd, savefile, file_length, error);
    return synced(fsync(fd), fd, "bring to stable storage", error);
}
