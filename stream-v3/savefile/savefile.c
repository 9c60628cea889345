/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What surrounds the stream in a file: spec 2, 4. */
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "savefile.h"

#define HEAD_MAX (64U << 20)

/* Version 2, options 0, LIBXC_CONTEXT: every libxl since Xen 4.6. */
static const uint8_t libxl_head[] = {
    'L', 'i', 'b', 'x', 'l', 'F', 'm', 't', 0, 0, 0, 2,
    0,   0,   0,   0,   1,   0,   0,   0,   0, 0, 0, 0,
};

struct probe {
    struct xensave_bytes *bytes;
    const char *name;
    struct xensave_file *savefile;
    struct xensave_error *error;
};

/* ---- window ------------------------------------------------------------- */

/* The heads of all batches of a large guest are many pages. */
void xensave_window_close(struct xensave_window *window)
{
    uint64_t start = round_down(window->offset, XENSAVE_V2_PAGE_SIZE);
    uint64_t end = window->offset + window->length;

    if (window->length)
        posix_fadvise(window->fd, start,
                      round_up(end, XENSAVE_V2_PAGE_SIZE) - start,
                      POSIX_FADV_DONTNEED);
    window->length = 0;
}

static const void *window_look(struct xensave_bytes *bytes, uint64_t offset,
                               size_t length)
{
    struct xensave_window *window = (struct xensave_window *)bytes;
    size_t most;

    if (offset >= window->offset &&
        offset + length <= window->offset + window->length)
        return window->data + (offset - window->offset);
    xensave_window_close(window);
    if (offset > bytes->size || length > bytes->size - offset) {
        errno = ENODATA;
        return NULL;
    }
    most = min_u64(sizeof(window->data), bytes->size - offset);
    if (pread_exact(window->fd, window->data, most, offset))
        return NULL;
    window->offset = offset;
    window->length = most;
    return window->data;
}

void xensave_window_init(struct xensave_window *window, int fd, uint64_t size)
{
    window->bytes.look = window_look;
    window->bytes.size = size;
    window->fd = fd;
    window->offset = window->length = 0;
}

/* ---- head --------------------------------------------------------------- */

static bool is_xl_header(const struct xensave_v2_xl_header *xl)
{
    return !memcmp(xl->magic, XENSAVE_V2_XL_MAGIC, sizeof(xl->magic)) &&
           xl->byteorder == XENSAVE_V2_XL_BYTEORDER;
}

static int read_at(const struct probe *probe, void *data, size_t length,
                   uint64_t offset)
{
    const void *at = probe->bytes->look(probe->bytes, offset, length);

    if (at) {
        memcpy(data, at, length);
        return 0;
    }
    if (errno == ENODATA)
        return xensave_fail(probe->error, ENODATA,
                            "%s ends before offset %" PRIu64
                            ": too short for a save file",
                            probe->name, offset + length);
    return xensave_fail(probe->error, errno,
                        "cannot read %s at offset %" PRIu64 ": %s",
                        probe->name, offset, strerror(errno));
}

static int parse_xl(const struct probe *probe)
{
    struct xensave_file *savefile = probe->savefile;
    struct xensave_v2_xl_header xl;
    uint32_t length;

    /* Not more: a libxl header alone is shorter than xl's. */
    if (read_at(probe, &xl, sizeof(libxl_head), 0))
        return -1;
    if (memcmp(xl.magic, XENSAVE_V2_XL_MAGIC, sizeof(libxl_head)))
        return 0;
    if (read_at(probe, &xl, sizeof(xl.magic), 0))
        return -1;
    savefile->xl_head = !memcmp(xl.magic, XENSAVE_V2_XL_MAGIC,
                                sizeof(xl.magic));
    if (read_at(probe, &xl, sizeof(xl), 0))
        return -1;
    if (!is_xl_header(&xl))
        return xensave_fail(probe->error, EBADMSG,
                            "%s: xl's header is damaged", probe->name);
    if (xl.optional_data_len > HEAD_MAX)
        return xensave_fail(probe->error, EBADMSG,
                            "%s: xl header with %" PRIu32
                            " bytes of optional data; the file is damaged",
                            probe->name, xl.optional_data_len);
    savefile->libxl_offset = sizeof(xl) + xl.optional_data_len;
    if (xl.optional_data_len < sizeof(length))
        return 0;
    if (read_at(probe, &length, sizeof(length), sizeof(xl)))
        return -1;
    if (length > xl.optional_data_len - sizeof(length))
        return xensave_fail(probe->error, EBADMSG,
                            "%s: xl header with a configuration "
                            "of %" PRIu32 " bytes in %" PRIu32
                            " of optional data; the file is damaged",
                            probe->name, length, xl.optional_data_len);
    savefile->config_offset = sizeof(xl) + sizeof(length);
    savefile->config_length = length ? length - 1 : 0;
    return 0;
}

/* Behind the head of another toolstack; reads no byte behind what it finds. */
static int search_libxl(const struct probe *probe)
{
    uint64_t offset = 0;
    const uint8_t *at, *next;

    while (offset <= HEAD_MAX - sizeof(libxl_head) &&
           offset + sizeof(libxl_head) <= probe->bytes->size) {
        at = probe->bytes->look(probe->bytes, offset, sizeof(libxl_head));
        if (!at)
            return xensave_fail(probe->error, errno, "cannot read %s: %s",
                                probe->name, strerror(errno));
        if (!memcmp(at, libxl_head, sizeof(libxl_head))) {
            probe->savefile->libxl_offset = offset;
            return 0;
        }
        next = memchr(at + 1, libxl_head[0], sizeof(libxl_head) - 1);
        offset += next ? (size_t)(next - at) : sizeof(libxl_head);
    }
    return xensave_fail(probe->error, EBADMSG,
                        "not a Xen save file: neither xl's header at offset 0 "
                        "nor a libxl header in its first 64 MiB");
}

static int parse_libxl(const struct probe *probe)
{
    struct {
        struct xensave_v2_libxl_header libxl;
        struct xensave_v2_record_header context;
    } head = { 0 };
    struct xensave_file *savefile = probe->savefile;

    if (read_at(probe, &head, sizeof(head), savefile->libxl_offset))
        return -1;
    if (be64toh(head.libxl.ident) != XENSAVE_V2_LIBXL_IDENT)
        return xensave_fail_at(probe->error, EBADMSG, savefile->libxl_offset,
                               0,
                               "%s has no libxl header: not a save file of a "
                               "Xen domain",
                               probe->name);
    if (be32toh(head.libxl.version) != XENSAVE_V2_LIBXL_VERSION ||
        (be32toh(head.libxl.options) & 1))
        return xensave_fail_at(probe->error, ENOTSUP, savefile->libxl_offset,
                               0,
                               "%s has a libxl stream of version %" PRIu32
                               ", options 0x%" PRIx32
                               ", which is not supported",
                               probe->name, be32toh(head.libxl.version),
                               be32toh(head.libxl.options));
    if (head.context.type != XENSAVE_V2_LIBXL_CONTEXT || head.context.length)
        return xensave_fail_at(
            probe->error, EBADMSG, savefile->libxl_offset + sizeof(head.libxl),
            0, "%s does not begin with LIBXC_CONTEXT; the file is damaged",
            probe->name);
    savefile->stream_start = savefile->libxl_offset + sizeof(head);
    return 0;
}

int xensave_head_parse(struct xensave_bytes *bytes, const char *name,
                       uint64_t libxl_offset, struct xensave_file *savefile,
                       struct xensave_error *error)
{
    const struct probe probe = { bytes, name, savefile, error };

    if (parse_xl(&probe))
        return -1;
    if (libxl_offset < XENSAVE_LIBXL_SEARCH)
        savefile->libxl_offset = libxl_offset;
    else if (libxl_offset == XENSAVE_LIBXL_SEARCH && !savefile->xl_head &&
             search_libxl(&probe))
        return -1;
    return parse_libxl(&probe);
}

/* ---- stream ------------------------------------------------------------- */

static int probe_first_record(const struct probe *probe)
{
    struct xensave_file *savefile = probe->savefile;
    struct xensave_error *error = probe->error;
    uint64_t offset = savefile->stream_start + XENSAVE_STREAM_HEADERS;
    struct xensave_header_record header;
    struct xensave_padding_record padding = { 0 };

    savefile->format = XENSAVE_FORMAT_V2;
    if (read_at(probe, &header.record, sizeof(header.record), offset))
        return -1;
    if (header.record.type == XENSAVE_V2_RECORD_END)
        return xensave_fail_at(
            error, EBADMSG, offset, 0,
            "%s holds nothing behind its headers: it was never "
            "written to its end",
            probe->name);
    if (header.record.length < sizeof(padding.body) &&
        header.record.type != XENSAVE_RECORD_HEADER &&
        header.record.type != XENSAVE_RECORD_PADDING)
        return 0;
    if (read_at(probe, &padding, sizeof(padding), offset))
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
                probe->name);
    } else if (header.record.type == XENSAVE_RECORD_HEADER ||
               !memcmp(padding.body.magic, XENSAVE_MAGIC,
                       sizeof(padding.body.magic))) {
        savefile->format = XENSAVE_FORMAT_V3;
        savefile->header_length = sizeof(header.record) + header.record.length;
        if (xensave_header_length_fits(header.record.length) &&
            read_at(probe, &header, savefile->header_length, offset))
            return -1;
        if (xensave_header_validate(&header, offset, error))
            return -1;
        savefile->header = header.body;
    }
    return 0;
}

static int probe_stream(const struct probe *probe)
{
    struct {
        struct xensave_v2_image_header image;
        struct xensave_v2_domain_header domain;
    } head;
    struct xensave_file *savefile = probe->savefile;

    if (read_at(probe, &head, sizeof(head), savefile->stream_start))
        return -1;
    if (head.image.marker != XENSAVE_V2_IMAGE_MARKER ||
        be32toh(head.image.id) != XENSAVE_V2_IMAGE_ID)
        return xensave_fail_at(
            probe->error, EBADMSG, savefile->stream_start, 0,
            "%s has no image header where its stream should "
            "start; the file is damaged",
            probe->name);
    savefile->image_version = be32toh(head.image.version);
    savefile->guest_type = head.domain.type;
    savefile->xen_major = head.domain.xen_major;
    savefile->xen_minor = head.domain.xen_minor;
    return probe_first_record(probe);
}

PUBLIC int xensave_file_probe(int fd, uint64_t libxl_offset,
                              struct xensave_file *savefile,
                              struct xensave_error *error)
{
    struct xensave_window window;
    char name[256];
    struct probe probe;
    int r;

    memset(error, 0, sizeof(*error));
    memset(savefile, 0, sizeof(*savefile));
    fd_name(fd, name, sizeof(name));
    probe = (struct probe){ &window.bytes, name, savefile, error };
    if (xensave_file_size(fd, &savefile->file_size, &savefile->is_device))
        return xensave_fail(error, errno,
                            "%s is neither a file nor a block device", name);
    xensave_window_init(&window, fd, savefile->file_size);
    r = xensave_head_parse(&window.bytes, name, libxl_offset, savefile, error);
    if (!r)
        r = probe_stream(&probe);
    xensave_window_close(&window);
    return r;
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
