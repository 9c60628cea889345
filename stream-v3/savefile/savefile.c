/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What surrounds the stream in a file: spec 2, 4. */
#include <inttypes.h>
#include <unistd.h>

#include "stream-v3/internal.h"

#define XL_HEAD_MAX (64U << 20)

static int read_at(int fd, const char *name, void *data, size_t length,
                   uint64_t offset, struct xensave_error *error)
{
    if (!pread_exact(fd, data, length, offset))
        return 0;
    if (errno == ENODATA)
        return xensave_fail(error, ENODATA,
                            "%s ends at or before offset %" PRIu64
                            ": too short "
                            "for a save file",
                            name, offset + length);
    return xensave_fail(error, errno,
                        "cannot read %s at offset %" PRIu64 ": %s", name,
                        offset, strerror(errno));
}

static bool is_xl_header(const struct xensave_v2_xl_header *xl)
{
    return !memcmp(xl->magic, XENSAVE_V2_XL_MAGIC, sizeof(xl->magic)) &&
           xl->byteorder == XENSAVE_V2_XL_BYTEORDER;
}

static int probe_xl(int fd, const char *name, struct xensave_file *savefile,
                    struct xensave_error *error)
{
    struct xensave_v2_xl_header xl;
    uint32_t length;

    if (pread_exact(fd, &xl, sizeof(xl), 0) || !is_xl_header(&xl))
        return 0;
    if (xl.optional_data_len > XL_HEAD_MAX)
        return xensave_fail(error, EBADMSG,
                            "%s: xl header with %" PRIu32
                            " bytes of optional data; the file is damaged",
                            name, xl.optional_data_len);
    savefile->xl_head = true;
    savefile->libxl_offset = sizeof(xl) + xl.optional_data_len;
    if (xl.optional_data_len < sizeof(length))
        return 0;
    if (read_at(fd, name, &length, sizeof(length), sizeof(xl), error))
        return -1;
    if (length > xl.optional_data_len - sizeof(length))
        return xensave_fail(error, EBADMSG,
                            "%s: xl header with a configuration "
                            "of %" PRIu32 " bytes in %" PRIu32
                            " of optional data; the file is damaged",
                            name, length, xl.optional_data_len);
    savefile->config_offset = sizeof(xl) + sizeof(length);
    savefile->config_length = length ? length - 1 : 0;
    return 0;
}

static int probe_libxl(int fd, const char *name, struct xensave_file *savefile,
                       struct xensave_error *error)
{
    struct {
        struct xensave_v2_libxl_header libxl;
        struct xensave_v2_record_header context;
    } head;

    if (read_at(fd, name, &head, sizeof(head), savefile->libxl_offset, error))
        return -1;
    if (be64toh(head.libxl.ident) != XENSAVE_V2_LIBXL_IDENT)
        return xensave_fail_at(error, EBADMSG, savefile->libxl_offset, 0,
                               "%s has no libxl header: not a save file of a "
                               "Xen domain",
                               name);
    if (be32toh(head.libxl.version) != XENSAVE_V2_LIBXL_VERSION ||
        (be32toh(head.libxl.options) & 1))
        return xensave_fail_at(error, ENOTSUP, savefile->libxl_offset, 0,
                               "%s has a libxl stream of version %" PRIu32
                               ", options 0x%" PRIx32
                               ", which is not supported",
                               name, be32toh(head.libxl.version),
                               be32toh(head.libxl.options));
    if (head.context.type != XENSAVE_V2_LIBXL_CONTEXT || head.context.length)
        return xensave_fail_at(
            error, EBADMSG, savefile->libxl_offset + sizeof(head.libxl), 0,
            "%s does not begin with LIBXC_CONTEXT; the file "
            "is damaged",
            name);
    savefile->stream_start = savefile->libxl_offset + sizeof(head);
    return 0;
}

static int probe_first_record(int fd, const char *name,
                              struct xensave_file *savefile,
                              struct xensave_error *error)
{
    uint64_t offset = savefile->stream_start +
                      sizeof(struct xensave_v2_image_header) +
                      sizeof(struct xensave_v2_domain_header);
    struct xensave_header_record header;
    struct xensave_padding_record padding;

    savefile->format = XENSAVE_FORMAT_V2;
    if (read_at(fd, name, &header.record, sizeof(header.record), offset,
                error))
        return -1;
    if (header.record.type == XENSAVE_V2_RECORD_END)
        return xensave_fail_at(
            error, EBADMSG, offset, 0,
            "%s holds nothing behind its headers: it was never "
            "written to its end",
            name);
    if (header.record.length < sizeof(padding.body) &&
        header.record.type != XENSAVE_RECORD_HEADER &&
        header.record.type != XENSAVE_RECORD_PADDING)
        return 0;
    if (read_at(fd, name, &padding, sizeof(padding), offset, error))
        return -1;
    /* The magic too, so that one damaged byte does not make it a v2. */
    if (header.record.type == XENSAVE_RECORD_PADDING) {
        savefile->format = XENSAVE_FORMAT_COMPAT;
        savefile->head_padding = padding.body.head_padding;
        if (!xensave_padding_is_start(&padding))
            return xensave_fail_at(
                error, EBADMSG, offset, 0,
                "%s: the PADDING that begins a compat stream "
                "is malformed; the file is damaged",
                name);
    } else if (header.record.type == XENSAVE_RECORD_HEADER ||
               !memcmp(padding.body.magic, XENSAVE_MAGIC,
                       sizeof(padding.body.magic))) {
        savefile->format = XENSAVE_FORMAT_V3;
        if (xensave_header_length_fits(header.record.length) &&
            read_at(fd, name, &header, xensave_header_length(&header), offset,
                    error))
            return -1;
        if (xensave_header_validate(&header, offset, error))
            return -1;
        savefile->header = header.body;
    }
    return 0;
}

static int probe_stream(int fd, const char *name,
                        struct xensave_file *savefile,
                        struct xensave_error *error)
{
    struct {
        struct xensave_v2_image_header image;
        struct xensave_v2_domain_header domain;
    } head;

    if (read_at(fd, name, &head, sizeof(head), savefile->stream_start, error))
        return -1;
    if (head.image.marker != XENSAVE_V2_IMAGE_MARKER ||
        be32toh(head.image.id) != XENSAVE_V2_IMAGE_ID)
        return xensave_fail_at(
            error, EBADMSG, savefile->stream_start, 0,
            "%s has no image header where its stream should "
            "start; the file is damaged",
            name);
    savefile->image_version = be32toh(head.image.version);
    savefile->guest_type = head.domain.type;
    savefile->xen_major = head.domain.xen_major;
    savefile->xen_minor = head.domain.xen_minor;
    return probe_first_record(fd, name, savefile, error);
}

PUBLIC int xensave_file_probe(int fd, uint64_t libxl_offset,
                              struct xensave_file *savefile,
                              struct xensave_error *error)
{
    char name[256];

    memset(error, 0, sizeof(*error));
    memset(savefile, 0, sizeof(*savefile));
    fd_name(fd, name, sizeof(name));
    if (xensave_file_size(fd, &savefile->file_size, &savefile->is_device))
        return xensave_fail(error, errno,
                            "%s is neither a file nor a block device", name);
    if (probe_xl(fd, name, savefile, error))
        return -1;
    if (libxl_offset != UINT64_MAX)
        savefile->libxl_offset = libxl_offset;
    if (probe_libxl(fd, name, savefile, error))
        return -1;
    return probe_stream(fd, name, savefile, error);
}

PUBLIC int xensave_file_align_head(int fd, uint32_t *padding,
                                   struct xensave_error *error)
{
    const uint64_t between = sizeof(struct xensave_v2_libxl_header) +
                             sizeof(struct xensave_v2_record_header);
    static const char zeros[8];
    struct xensave_v2_xl_header xl;
    char name[256];
    uint32_t length;
    off_t end;

    memset(error, 0, sizeof(*error));
    fd_name(fd, name, sizeof(name));
    end = lseek(fd, 0, SEEK_CUR);
    if (end < 0)
        return xensave_fail(error, errno, "%s cannot seek: %s", name,
                            strerror(errno));
    *padding = -(end + between) & 7;
    if (!*padding)
        return 0;
    /* Without the length of the configuration, stock takes NULs for one. */
    if (pread_exact(fd, &xl, sizeof(xl), 0) || !is_xl_header(&xl) ||
        xl.optional_data_len < sizeof(uint32_t) ||
        sizeof(xl) + xl.optional_data_len != (uint64_t)end)
        return xensave_fail(
            error, EINVAL,
            "%s does not begin with xl's header, and its stream "
            "would start at an offset that is not a multiple of "
            "8",
            name);
    length = xl.optional_data_len + *padding;
    if (pwrite_exact(fd, zeros, *padding, end) ||
        pwrite_exact(fd, &length, sizeof(length),
                     offsetof(struct xensave_v2_xl_header,
                              optional_data_len)) ||
        lseek(fd, end + *padding, SEEK_SET) < 0)
        return xensave_fail(error, errno, "cannot write to %s: %s", name,
                            strerror(errno));
    return 0;
}
