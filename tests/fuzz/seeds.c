/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes the unit tests' synthetic streams, as v2 and encoded, to argv[1]. */
#include <stdio.h>
#include <stdlib.h>

#include "synthetic.h"

static int put(const char *directory, const char *name, const void *data,
               size_t length)
{
    char path[4096];
    FILE *file;
    int r;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    file = fopen(path, "w");
    if (!file)
        return -1;
    r = fwrite(data, 1, length, file) == length ? 0 : -1;
    return fclose(file) || r ? -1 : 0;
}

static int put_encoded(const char *directory, const char *name,
                       const struct bytes *v2, enum xensave_format format)
{
    struct xensave_encoder_options options = {
        .size = sizeof(struct xensave_encoder_options),
        .format = format,
        .file_id = "the same twice",
    };
    struct xensave_error error = { .errnum = 0 };
    struct xensave_encoder *encoder = NULL;
    struct xensave_sink *sink;
    size_t length;
    void *data;
    int rc = -1;

    sink = xensave_sink_open_memory(0, &data, &length, &error);
    if (sink)
        encoder = xensave_encoder_new(sink, &options);
    if (encoder && !xensave_encoder_push(encoder, v2->data, v2->length))
        rc = put(directory, name, data, length);
    xensave_encoder_free(encoder);
    xensave_sink_free(sink);
    free(data);
    return rc;
}

int main(int argc, char **argv)
{
    char name[64];

    if (argc != 2)
        return 2;
    for (int pages = PAGES_FULL; pages <= PAGES_MIXED_TYPES; pages++) {
        struct bytes v2 = synthetic_stream(pages, 2, 1 + pages, 7);

        for (int format = XENSAVE_FORMAT_V2; format <= XENSAVE_FORMAT_V3;
             format++) {
            snprintf(name, sizeof(name), "synthetic-%d.%s", pages,
                     xensave_format_name(format));
            if (put_encoded(argv[1], name, &v2, format)) {
                perror(name);
                return 1;
            }
        }
        free(v2.data);
    }
    return 0;
}
