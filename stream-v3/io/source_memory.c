/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "io.h"

struct memory_source {
    struct xensave_source source;
    const uint8_t *data;
    size_t left;
};

static int memory_take(struct xensave_source *source, void *data,
                       uint64_t length)
{
    struct memory_source *memory = (struct memory_source *)source;

    if (length > memory->left)
        return xensave_source_ended(source);
    if (data)
        memcpy(data, memory->data, length);
    memory->data += length;
    memory->left -= length;
    source->offset += length;
    return 0;
}

static int memory_read(struct xensave_source *source, void *data,
                       size_t length)
{
    return memory_take(source, data, length);
}

static int memory_skip(struct xensave_source *source, uint64_t length)
{
    return memory_take(source, NULL, length);
}

static int memory_finish(struct xensave_source *source)
{
    (void)source;
    return 0;
}

static void memory_state(const struct xensave_source *source,
                         struct xensave_io_state *state)
{
    (void)source;
    state->io = XENSAVE_IO_BUFFERED;
}

static void memory_free(struct xensave_source *source)
{
    free(source);
}

static const struct xensave_source_ops memory_ops = {
    .read = memory_read,
    .skip = memory_skip,
    .finish = memory_finish,
    .state = memory_state,
    .free = memory_free,
};

PUBLIC struct xensave_source *xensave_source_open_memory(
    const void *data, size_t length, uint64_t start,
    struct xensave_error *error)
{
    struct memory_source *memory;

    memset(error, 0, sizeof(*error));
    memory = calloc(1, sizeof(*memory));
    if (!memory) {
        xensave_fail(error, ENOMEM, "cannot allocate a source");
        return NULL;
    }
    memory->source.ops = &memory_ops;
    memory->source.error = error;
    memory->source.offset = start;
    memory->source.ready = true;
    memory->data = data;
    memory->left = length;
    return &memory->source;
}
