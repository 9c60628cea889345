/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What all sinks have in common. */
#include "io.h"

void xensave_sink_init(struct xensave_sink *sink,
                       const struct xensave_sink_ops *ops,
                       struct xensave_error *error)
{
    sink->ops = ops;
    sink->error = error;
    sink->hold = UINT64_MAX;
    sink->alignment = XENSAVE_ALIGNMENT_MIN;
}

static int sink_fill(struct xensave_sink *sink, const void *data,
                     size_t length)
{
    size_t got;
    void *space;

    if (sink->finished)
        return xensave_fail(sink->error, EINVAL, "write to a finished sink");
    while (length) {
        space = sink->ops->space(sink, length, &got);
        if (!space)
            return -1;
        if (data) {
            memcpy(space, data, got);
            data = (const char *)data + got;
        } else {
            memset(space, 0, got);
        }
        sink->ops->advance(sink, got);
        length -= got;
    }
    return 0;
}

PUBLIC int xensave_sink_write(struct xensave_sink *sink, const void *data,
                              size_t length)
{
    return sink_fill(sink, data, length);
}

int xensave_sink_zeros(struct xensave_sink *sink, size_t length)
{
    return sink_fill(sink, NULL, length);
}

PUBLIC int xensave_sink_skip(struct xensave_sink *sink, uint64_t length)
{
    uint64_t whole, part;

    if (sink->finished)
        return xensave_fail(sink->error, EINVAL, "write to a finished sink");
    while (length) {
        part = min_u64(length, -sink->offset % sink->alignment);
        whole = round_down(length, sink->alignment);
        if (!part && whole >= XENSAVE_HOLE_MIN && sink->hold == UINT64_MAX &&
            sink->ops->can_skip && sink->ops->can_skip(sink)) {
            if (sink->error->text[0] || sink->ops->skip(sink, whole))
                return -1;
            length -= whole;
            continue;
        }
        part = min_u64(length, part ? part : XENSAVE_ALIGNMENT_MAX);
        if (sink_fill(sink, NULL, part))
            return -1;
        length -= part;
    }
    return 0;
}

PUBLIC uint64_t xensave_sink_offset(const struct xensave_sink *sink)
{
    return sink->offset;
}

PUBLIC bool xensave_sink_can_rewrite(const struct xensave_sink *sink)
{
    return sink->rewritable;
}

void xensave_sink_hold(struct xensave_sink *sink)
{
    sink->hold = sink->offset;
}

int xensave_sink_release(struct xensave_sink *sink)
{
    sink->hold = UINT64_MAX;
    return sink->ops->release(sink);
}

int xensave_sink_patch(struct xensave_sink *sink, uint64_t offset,
                       const void *data, size_t length)
{
    sink->ops->patch(sink, offset, data, length);
    return xensave_sink_release(sink);
}

int xensave_sink_settle(struct xensave_sink *sink)
{
    return sink->ops->settle ? sink->ops->settle(sink) : 0;
}

PUBLIC int xensave_sink_finish(struct xensave_sink *sink)
{
    int r;

    if (sink->finished)
        return 0;
    r = sink->error->text[0] ? -1 : sink->ops->finish(sink);
    sink->finished = true;
    return r;
}

PUBLIC int xensave_sink_rewrite(struct xensave_sink *sink, uint64_t offset,
                                const void *data, size_t length)
{
    if (!sink->rewritable || !sink->finished)
        return xensave_fail(sink->error, EINVAL,
                            "this sink cannot be rewritten now");
    return sink->ops->rewrite(sink, offset, data, length);
}

PUBLIC void xensave_sink_state(const struct xensave_sink *sink,
                               struct xensave_io_state *state)
{
    memset(state, 0, sizeof(*state));
    state->alignment = sink->alignment;
    sink->ops->state(sink, state);
}

PUBLIC void xensave_sink_free(struct xensave_sink *sink)
{
    if (sink)
        sink->ops->free(sink);
}
