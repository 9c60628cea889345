/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What all sources have in common. */
#include "io.h"

int xensave_source_ended(struct xensave_source *source)
{
    return xensave_fail(
        source->error, ENODATA,
        "the stream ends early, at offset %llu: it was cut off or "
        "never finished",
        (unsigned long long)source->offset);
}

PUBLIC int xensave_source_read(struct xensave_source *source, void *data,
                               size_t length)
{
    if (source->error->text[0])
        return -1;
    return source->ops->read(source, data, length);
}

PUBLIC int xensave_source_skip(struct xensave_source *source, uint64_t length)
{
    if (source->error->text[0])
        return -1;
    return source->ops->skip(source, length);
}

PUBLIC uint64_t xensave_source_offset(const struct xensave_source *source)
{
    return source->offset;
}

PUBLIC int xensave_source_finish(struct xensave_source *source)
{
    return source->ops->finish(source);
}

PUBLIC void xensave_source_state(const struct xensave_source *source,
                                 struct xensave_io_state *state)
{
    memset(state, 0, sizeof(*state));
    source->ops->state(source, state);
}

PUBLIC void xensave_source_free(struct xensave_source *source)
{
    if (source)
        source->ops->free(source);
}
