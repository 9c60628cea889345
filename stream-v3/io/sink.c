/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What all sinks have in common. */
#include "stream-v3/internal.h"

void v3_sink_init(struct v3_sink *sink, const struct v3_sink_ops *ops,
                  struct v3_error *error)
{
    sink->ops = ops;
    sink->error = error;
    sink->hold = UINT64_MAX;
    sink->alignment = V3_ALIGNMENT_MIN;
}

static int sink_fill(struct v3_sink *sink, const void *data, size_t length)
{
    size_t got;
    void *room;

    if (sink->finished)
        return v3_fail(sink->error, EINVAL, "write to a finished sink");
    while (length) {
        room = sink->ops->room(sink, length, &got);
        if (!room)
            return -1;
        if (data) {
            memcpy(room, data, got);
            data = (const char *)data + got;
        } else {
            memset(room, 0, got);
        }
        sink->ops->advance(sink, got);
        length -= got;
    }
    return 0;
}

PUBLIC int v3_sink_write(struct v3_sink *sink, const void *data,
                         size_t length)
{
    return sink_fill(sink, data, length);
}

int v3_sink_zeros(struct v3_sink *sink, size_t length)
{
    return sink_fill(sink, NULL, length);
}

PUBLIC int v3_sink_skip(struct v3_sink *sink, uint64_t length)
{
    uint64_t whole, part;

    if (sink->finished)
        return v3_fail(sink->error, EINVAL, "write to a finished sink");
    while (length) {
        part = min_u64(length, -sink->offset % sink->alignment);
        whole = round_down(length, sink->alignment);
        if (!part && whole >= V3_HOLE_MIN && sink->hold == UINT64_MAX &&
            sink->ops->can_skip && sink->ops->can_skip(sink)) {
            if (sink->error->text[0] || sink->ops->skip(sink, whole))
                return -1;
            length -= whole;
            continue;
        }
        part = min_u64(length, part ? part : V3_ALIGNMENT_MAX);
        if (sink_fill(sink, NULL, part))
            return -1;
        length -= part;
    }
    return 0;
}

PUBLIC uint64_t v3_sink_offset(const struct v3_sink *sink)
{
    return sink->offset;
}

PUBLIC bool v3_sink_can_rewrite(const struct v3_sink *sink)
{
    return sink->rewritable;
}

void v3_sink_hold(struct v3_sink *sink)
{
    sink->hold = sink->offset;
}

int v3_sink_release(struct v3_sink *sink)
{
    sink->hold = UINT64_MAX;
    return sink->ops->release(sink);
}

int v3_sink_patch(struct v3_sink *sink, uint64_t offset, const void *data,
                  size_t length)
{
    sink->ops->patch(sink, offset, data, length);
    return v3_sink_release(sink);
}

int v3_sink_settle(struct v3_sink *sink)
{
    return sink->ops->settle ? sink->ops->settle(sink) : 0;
}

PUBLIC int v3_sink_finish(struct v3_sink *sink)
{
    int r;

    if (sink->finished)
        return 0;
    r = sink->error->text[0] ? -1 : sink->ops->finish(sink);
    sink->finished = true;
    return r;
}

PUBLIC int v3_sink_rewrite(struct v3_sink *sink, uint64_t offset,
                           const void *data, size_t length)
{
    if (!sink->rewritable || !sink->finished)
        return v3_fail(sink->error, EINVAL,
                       "this sink cannot be rewritten now");
    return sink->ops->rewrite(sink, offset, data, length);
}

PUBLIC void v3_sink_state(const struct v3_sink *sink,
                          struct v3_io_state *state)
{
    memset(state, 0, sizeof(*state));
    state->alignment = sink->alignment;
    sink->ops->state(sink, state);
}

PUBLIC void v3_sink_free(struct v3_sink *sink)
{
    if (sink)
        sink->ops->free(sink);
}
