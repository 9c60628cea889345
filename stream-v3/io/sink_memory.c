/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "io.h"

struct memory_sink {
    struct xensave_sink sink;
    uint64_t start;
    uint8_t *data;
    size_t capacity;
    void **result;
    size_t *result_length;
};

static size_t used(const struct memory_sink *memory)
{
    return memory->sink.offset - memory->start;
}

static void *memory_space(struct xensave_sink *sink, size_t want, size_t *got)
{
    struct memory_sink *memory = (struct memory_sink *)sink;
    size_t need = used(memory) + want, capacity = memory->capacity;
    uint8_t *data;

    if (need > capacity) {
        capacity = capacity * 2 > need ? capacity * 2 : need;
        data = realloc(memory->data, capacity);
        if (!data) {
            xensave_fail(sink->error, ENOMEM, "cannot allocate %zu bytes",
                         capacity);
            return NULL;
        }
        memory->data = data;
        memory->capacity = capacity;
    }
    *got = want;
    return memory->data + used(memory);
}

static void memory_advance(struct xensave_sink *sink, size_t length)
{
    sink->offset += length;
}

static int memory_release(struct xensave_sink *sink)
{
    (void)sink;
    return 0;
}

static void memory_patch(struct xensave_sink *sink, uint64_t offset,
                         const void *data, size_t length)
{
    struct memory_sink *memory = (struct memory_sink *)sink;

    memcpy(memory->data + (offset - memory->start), data, length);
}

static int memory_finish(struct xensave_sink *sink)
{
    struct memory_sink *memory = (struct memory_sink *)sink;

    *memory->result = memory->data;
    *memory->result_length = used(memory);
    return 0;
}

static int memory_rewrite(struct xensave_sink *sink, uint64_t offset,
                          const void *data, size_t length)
{
    memory_patch(sink, offset, data, length);
    return 0;
}

static void memory_state(const struct xensave_sink *sink,
                         struct xensave_io_state *state)
{
    (void)sink;
    state->io = XENSAVE_IO_BUFFERED;
}

static void memory_free(struct xensave_sink *sink)
{
    struct memory_sink *memory = (struct memory_sink *)sink;

    if (*memory->result != memory->data)
        free(memory->data);
    free(memory);
}

static const struct xensave_sink_ops memory_ops = {
    .space = memory_space,
    .advance = memory_advance,
    .release = memory_release,
    .patch = memory_patch,
    .finish = memory_finish,
    .rewrite = memory_rewrite,
    .state = memory_state,
    .free = memory_free,
};

PUBLIC struct xensave_sink *xensave_sink_open_memory(
    uint64_t start, void **data, size_t *length, struct xensave_error *error)
{
    struct memory_sink *memory;

    memset(error, 0, sizeof(*error));
    memory = calloc(1, sizeof(*memory));
    if (!memory) {
        xensave_fail(error, ENOMEM, "cannot allocate a sink");
        return NULL;
    }
    xensave_sink_init(&memory->sink, &memory_ops, error);
    memory->sink.offset = start;
    memory->sink.rewritable = true;
    memory->start = start;
    memory->result = data;
    memory->result_length = length;
    *data = NULL;
    *length = 0;
    return &memory->sink;
}
