/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "head.h"
#include "savefile.h"

#define XL_HEADER   sizeof(struct xensave_v2_xl_header)
#define PADDING_MAX 7

static int fail(struct xensave_error *error, const char *what)
{
    error->errnum = EBADMSG;
    snprintf(error->text, sizeof(error->text), "%s", what);
    return -1;
}

static int more(struct head *head, struct xensave_source *source,
                size_t length)
{
    head->data = xrealloc(head->data, head->length + length);
    if (xensave_source_read(source, head->data + head->length, length))
        return -1;
    head->length += length;
    return 0;
}

static bool ends_in_libxl_head(const struct head *head)
{
    return head->length >= LIBXL_HEAD_LENGTH &&
           memcmp(head->data + head->length - LIBXL_HEAD_LENGTH, libxl_head,
                  LIBXL_HEAD_LENGTH) == 0;
}

static struct xensave_v2_xl_header *xl_header(const struct head *head)
{
    return (struct xensave_v2_xl_header *)head->data;
}

static int read_xl(struct head *head, struct xensave_source *source,
                   struct xensave_error *error)
{
    uint32_t left = xl_header(head)->optional_data_len, n;

    if (left > HEAD_LENGTH_MAX)
        return fail(error, "xl's header claims optional data of more than "
                           "64 MiB; the file is damaged");
    /* Piece by piece: memory for what comes, not for what is claimed. */
    for (; left; left -= n) {
        n = left < 65536 ? left : 65536;
        if (more(head, source, n))
            return -1;
    }
    if (more(head, source, LIBXL_HEAD_LENGTH))
        return -1;
    if (!ends_in_libxl_head(head))
        return fail(error, "no libxl header of version 2 behind xl's; the "
                           "file is damaged, or older than Xen 4.6");
    return 0;
}

/* Another toolstack's: up to libxl's header, byte by byte. */
static int read_other(struct head *head, struct xensave_source *source,
                      struct xensave_error *error)
{
    size_t room = 4096;

    head->data = xrealloc(head->data, room);
    while (!ends_in_libxl_head(head)) {
        if (head->length == HEAD_LENGTH_MAX)
            return fail(error, "not a Xen save file: no libxl header in its "
                               "first 64 MiB");
        if (head->length == room) {
            room *= 2;
            head->data = xrealloc(head->data, room);
        }
        if (xensave_source_read(source, head->data + head->length, 1))
            return -1;
        head->length++;
    }
    return 0;
}

int head_read(struct head *head, struct xensave_source *source,
              struct xensave_error *error)
{
    *head = (struct head){ 0 };
    if (more(head, source, LIBXL_HEAD_LENGTH))
        return -1;
    if (ends_in_libxl_head(head))
        return 0;
    head->is_xl = memcmp(head->data, XENSAVE_V2_XL_MAGIC, head->length) == 0;
    if (!head->is_xl)
        return read_other(head, source, error);
    if (more(head, source, XL_HEADER - head->length))
        return -1;
    if (memcmp(head->data, XENSAVE_V2_XL_MAGIC,
               sizeof(xl_header(head)->magic)))
        return fail(error, "xl's header is damaged");
    return read_xl(head, source, error);
}

/* Length of the configuration; false: there is none. */
static bool config_length(const struct head *head, uint32_t *config)
{
    uint32_t length;

    if (!head->is_xl)
        return false;
    length = xl_header(head)->optional_data_len;
    if (length < sizeof(*config))
        return false;
    memcpy(config, head->data + XL_HEADER, sizeof(*config));
    return *config <= length - sizeof(*config);
}

void head_config(const struct head *head, struct domain_config *config)
{
    uint32_t length = 0;

    /* Its NUL is counted, and is not for the parser. */
    config_length(head, &length);
    config_parse(config, head->data + XL_HEADER + sizeof(length),
                 length ? length - 1 : 0);
}

/* Bytes of optional data behind the configuration. */
static uint32_t spare(const struct head *head)
{
    uint32_t config;

    return config_length(head, &config)
               ? xl_header(head)->optional_data_len - sizeof(config) - config
               : 0;
}

static bool is_padding(const struct head *head, uint32_t padding)
{
    static const char zeros[PADDING_MAX];

    return padding <= PADDING_MAX && padding <= spare(head) &&
           memcmp(head->data + head->length - LIBXL_HEAD_LENGTH - padding,
                  zeros, padding) == 0;
}

int head_strip_padding(struct head *head, uint32_t padding,
                       struct xensave_error *error)
{
    unsigned char *libxl = head->data + head->length - LIBXL_HEAD_LENGTH;

    if (!padding)
        return 0;
    if (!is_padding(head, padding))
        return fail(error, "the stream says that xl's header was padded, and "
                           "it is not; the file is damaged");
    memmove(libxl - padding, libxl, LIBXL_HEAD_LENGTH);
    xl_header(head)->optional_data_len -= padding;
    head->length -= padding;
    return 0;
}

void head_free(struct head *head)
{
    free(head->data);
    head->data = NULL;
}
