/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "head.h"
#include "savefile.h"

#define PIECE       65536U
#define PADDING_MAX 7U

/* Piece by piece: memory for what comes, not for what is claimed. */
static const void *look(struct xensave_bytes *bytes, uint64_t offset,
                        size_t length)
{
    struct head *head = (struct head *)bytes;
    size_t n;

    for (; head->length < offset + length; head->length += n) {
        n = min_u64(offset + length - head->length, PIECE);
        if (head->length + n > head->room) {
            head->room = 2 * head->room + n;
            head->data = xrealloc(head->data, head->room);
        }
        if (xensave_source_read(head->source, head->data + head->length, n)) {
            errno = EIO; /* its own error says more */
            return NULL;
        }
    }
    return head->data + offset;
}

int head_read(struct head *head, struct xensave_source *source,
              struct xensave_error *error)
{
    *head = (struct head){
        .bytes = { .look = look, .size = UINT64_MAX },
        .source = source,
    };
    return xensave_head_parse(&head->bytes, "the input", XENSAVE_LIBXL_SEARCH,
                              &head->file, error);
}

void head_config(const struct head *head, struct domain_config *config)
{
    config_parse(config, head->data + head->file.config_offset,
                 head->file.config_length);
}

static bool is_padding(const struct head *head, uint32_t padding)
{
    static const char zeros[PADDING_MAX];
    const struct xensave_file *file = &head->file;
    uint32_t config;

    if (padding > PADDING_MAX || !file->config_offset)
        return false;
    memcpy(&config, head->data + file->config_offset - sizeof(config),
           sizeof(config));
    return file->config_offset + config + padding <= file->libxl_offset &&
           !memcmp(head->data + file->libxl_offset - padding, zeros, padding);
}

int head_strip_padding(struct head *head, uint32_t padding,
                       struct xensave_error *error)
{
    struct xensave_v2_xl_header *xl = (void *)head->data;
    unsigned char *libxl = head->data + head->file.libxl_offset;

    if (!padding)
        return 0;
    if (!is_padding(head, padding))
        return xensave_fail(error, EBADMSG,
                            "the stream says that xl's header was padded, and "
                            "it is not; the file is damaged");
    memmove(libxl - padding, libxl, head->length - head->file.libxl_offset);
    xl->optional_data_len -= padding;
    head->file.libxl_offset -= padding;
    head->length -= padding;
    return 0;
}

void head_free(struct head *head)
{
    free(head->data);
    head->data = NULL;
}
