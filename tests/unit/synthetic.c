/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <endian.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "synthetic.h"

/* A power of two, so that not every byte more means another copy. */
static size_t room(size_t length)
{
    size_t room = 4096;

    while (room < length)
        room *= 2;
    return length ? room : 0;
}

static void put(struct bytes *bytes, const void *data, size_t length)
{
    if (room(bytes->length) < bytes->length + length) {
        bytes->data = realloc(bytes->data, room(bytes->length + length));
        assert(bytes->data);
    }
    if (data)
        memcpy(bytes->data + bytes->length, data, length);
    else
        memset(bytes->data + bytes->length, 0, length);
    bytes->length += length;
}

static void put_record(struct bytes *bytes, uint32_t type, uint32_t length)
{
    struct xensave_v2_record_header record = { type, length };

    put(bytes, &record, sizeof(record));
    for (uint32_t i = 0; i < length; i++)
        put(bytes, &(uint8_t){ type * 31 + i }, 1);
    put(bytes, NULL, -length & 7);
}

static uint64_t pfn_type(enum synthetic_pages pages, unsigned i)
{
    static const uint8_t types[] = { 0, 1, 0xf, 2, 0xd, 9, 0xe, 4 };

    return pages >= PAGES_MIXED_TYPES ? types[i % sizeof(types)] : 0;
}

static bool page_zero(enum synthetic_pages pages, unsigned i)
{
    if (pages == PAGES_TEXT)
        return i % 8 == 3;
    return pages == PAGES_ZERO || (pages != PAGES_FULL && i % 2);
}

static void put_batch(struct bytes *bytes, enum synthetic_pages pages,
                      uint64_t first, unsigned count, unsigned *seed)
{
    struct xensave_v2_record_header record = { XENSAVE_V2_RECORD_PAGE_DATA,
                                               8 + 8 * count };
    struct xensave_v2_page_data_header page_data = { count, 0 };
    uint32_t words[XENSAVE_V2_PAGE_SIZE / 4];

    for (unsigned i = 0; i < count; i++)
        if (pfn_type(pages, i) < XENSAVE_V2_PFN_TYPE_BROKEN)
            record.length += XENSAVE_V2_PAGE_SIZE;
    put(bytes, &record, sizeof(record));
    put(bytes, &page_data, sizeof(page_data));
    for (unsigned i = 0; i < count; i++)
        put(bytes,
            &(uint64_t){ (first + i) | pfn_type(pages, i)
                                           << XENSAVE_V2_PFN_TYPE_SHIFT },
            8);
    for (unsigned i = 0; i < count; i++) {
        if (pfn_type(pages, i) >= XENSAVE_V2_PFN_TYPE_BROKEN)
            continue;
        for (unsigned k = 0; k < XENSAVE_V2_PAGE_SIZE / 4; k++)
            words[k] = *seed = *seed * 1664525 + 1013904223;
        for (unsigned k = 0;
             pages == PAGES_TEXT && k < XENSAVE_V2_PAGE_SIZE / 4; k++)
            words[k] = words[k] >> 29;
        put(bytes, page_zero(pages, i) ? NULL : words, XENSAVE_V2_PAGE_SIZE);
    }
}

struct bytes synthetic_stream(enum synthetic_pages pages, unsigned batches,
                              unsigned count, unsigned seed)
{
    struct xensave_v2_image_header image = {
        .marker = XENSAVE_V2_IMAGE_MARKER,
        .id = htobe32(XENSAVE_V2_IMAGE_ID),
        .version = htobe32(3),
    };
    struct xensave_v2_domain_header domain = { XENSAVE_V2_GUEST_HVM, 12, 0, 4,
                                               17 };
    struct bytes bytes = { NULL, 0 };

    put(&bytes, &image, sizeof(image));
    put(&bytes, &domain, sizeof(domain));
    put_record(&bytes, 0x11, 173);
    put_record(&bytes, 0x10, 0);
    for (unsigned i = 0; i < batches; i++)
        put_batch(&bytes, pages, (uint64_t)i * count, count, &seed);
    put_record(&bytes, 0x09, 8059);
    put_record(&bytes, XENSAVE_V2_RECORD_END, 0);
    return bytes;
}

struct bytes synthetic_head(unsigned config)
{
    struct xensave_v2_xl_header xl = {
        .byteorder = XENSAVE_V2_XL_BYTEORDER,
        .mandatory_flags = 3,
        .optional_data_len = 4 + config,
    };
    struct {
        struct xensave_v2_libxl_header libxl;
        struct xensave_v2_record_header context;
    } libxl = {
        { htobe64(XENSAVE_V2_LIBXL_IDENT), htobe32(XENSAVE_V2_LIBXL_VERSION),
          0 },
        { XENSAVE_V2_LIBXL_CONTEXT, 0 },
    };
    struct bytes bytes = { NULL, 0 };

    memcpy(xl.magic, XENSAVE_V2_XL_MAGIC, sizeof(xl.magic));
    put(&bytes, &xl, sizeof(xl));
    put(&bytes, &(uint32_t){ config }, 4);
    for (unsigned i = 0; i + 1 < config; i++)
        put(&bytes, "{", 1);
    put(&bytes, NULL, config ? 1 : 0);
    put(&bytes, &libxl, sizeof(libxl));
    return bytes;
}

int scratch_file(void)
{
    int fd = open("build/tests", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

    assert(fd >= 0);
    return fd;
}

int loop_device(int backing)
{
    /* It goes with its last descriptor. */
    struct loop_config config = {
        .fd = backing,
        .info = { .lo_flags = LO_FLAGS_AUTOCLEAR },
    };
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int fd = -1, number;
    char path[32];

    /* Others may take the free one first. */
    for (int tries = 0; control >= 0 && fd < 0 && tries < 20; tries++) {
        number = ioctl(control, LOOP_CTL_GET_FREE);
        snprintf(path, sizeof(path), "/dev/loop%d", number);
        fd = number < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
        if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config)) {
            close(fd);
            fd = -1;
        }
    }
    if (control >= 0)
        close(control);
    return fd;
}

struct bytes slurp(int fd)
{
    struct bytes bytes;
    struct stat facts;

    assert(!fstat(fd, &facts));
    bytes.length = facts.st_size;
    bytes.data = malloc(bytes.length + 1);
    assert(bytes.data);
    assert(pread(fd, bytes.data, bytes.length, 0) == (ssize_t)bytes.length);
    return bytes;
}
