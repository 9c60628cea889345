/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What all sources have in common. */
#include "stream-v3/internal.h"

int v3_source_ended(struct v3_source *source)
{
    return v3_fail(source->error, ENODATA,
                   "the stream ends early, at offset %llu: it was cut off or "
                   "never finished",
                   (unsigned long long)source->offset);
}

PUBLIC int v3_source_read(struct v3_source *source, void *data,
                          size_t length)
{
    if (source->error->text[0])
        return -1;
    return source->ops->read(source, data, length);
}

PUBLIC int v3_source_skip(struct v3_source *source, uint64_t length)
{
    if (source->error->text[0])
        return -1;
    return source->ops->skip(source, length);
}

PUBLIC uint64_t v3_source_offset(const struct v3_source *source)
{
    return source->offset;
}

PUBLIC int v3_source_finish(struct v3_source *source)
{
    return source->ops->finish(source);
}

PUBLIC void v3_source_state(const struct v3_source *source,
                            struct v3_io_state *state)
{
    memset(state, 0, sizeof(*state));
    source->ops->state(source, state);
}

PUBLIC void v3_source_free(struct v3_source *source)
{
    if (source)
        source->ops->free(source);
}
