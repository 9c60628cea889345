/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as a save file that xl-aligned looks at: its head, the walk over
 * its records, its tail.  Where the decoder gets to END, so does the walk.
 */
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

#include "stream-v3/savefile/walk.h"
#include "xl-cmds/head.h"
#include "xl-cmds/tail.h"

struct seen {
    uint64_t next; /* offset of the next record */
    uint64_t size;
    uint64_t batches, pages, zero_pages;
};

static void on_record(const struct xensave_record *record, struct seen *seen)
{
    FUZZ_ASSERT(record->offset == seen->next, NULL);
    FUZZ_ASSERT(xensave_record_bytes(record) <= seen->size - record->offset,
                NULL);
    seen->next += xensave_record_bytes(record);
    if (record->batch.pages)
        FUZZ_ASSERT(record->batch.page_offset > record->offset, NULL);
    xensave_layer_record_name(record->layer, record->type);
    if (record->layer != XENSAVE_LAYER_LIBXC || !record->batch.count)
        return;
    seen->batches++;
    seen->pages += record->batch.pages;
    seen->zero_pages += record->zero_pages;
}

/* What a decoder makes of the same stream, if it takes it. */
static void compare(const uint8_t *data, size_t size,
                    const struct xensave_file *savefile, uint64_t stream_end)
{
    static struct fuzz_decoded decoded;
    enum fuzz_result result;

    result = fuzz_decode(data + savefile->stream_start,
                         size - savefile->stream_start, savefile->stream_start,
                         0, 1 << 17, &decoded);
    if (result == FUZZ_ENDED)
        FUZZ_ASSERT(stream_end == savefile->stream_start + decoded.consumed,
                    NULL);
}

static void walk(const uint8_t *data, size_t size)
{
    struct seen seen = { .size = size };
    struct xensave_file savefile;
    uint64_t stream_end = 0;
    struct xensave_record record;
    struct xensave_error error;
    struct xensave_walk *walk;
    int fd = fuzz_file(data, size), r;

    if (xensave_file_probe(fd, UINT64_MAX, &savefile, &error))
        return;
    seen.next = savefile.stream_start + FUZZ_HEADERS;
    walk = xensave_walk_new(fd, &savefile, &error);
    FUZZ_ASSERT(walk, &error);
    while ((r = xensave_walk_next(walk, &record)) > 0) {
        on_record(&record, &seen);
        if (!stream_end && record.type == XENSAVE_V2_RECORD_END)
            stream_end = seen.next;
    }
    xensave_walk_free(walk);
    if (r)
        fuzz_assert_error(&error);
    FUZZ_ASSERT(seen.next <= size, NULL);
    compare(data, size, &savefile, stream_end);
}

static void read_head(const uint8_t *data, size_t size)
{
    struct xensave_error error;
    struct xensave_source *source;
    struct head head;

    source = xensave_source_open_memory(data, size, 0, &error);
    FUZZ_ASSERT(source, &error);
    if (head_read(&head, source, &error)) {
        fuzz_assert_error(&error);
    } else {
        FUZZ_ASSERT(head.length <= size, &error);
        FUZZ_ASSERT(xensave_source_offset(source) == head.length, &error);
        FUZZ_ASSERT(!memcmp(head.data, data, head.length), &error);
        uint64_t before = head.length;
        uint32_t padding = size % 8;

        if (head_strip_padding(&head, padding, &error))
            fuzz_assert_error(&error);
        else
            FUZZ_ASSERT(head.length == before - padding, &error);
    }
    head_free(&head);
    xensave_source_free(source);
}

static void read_tail(const uint8_t *data, size_t size, uint16_t number,
                      bool stop_at_end)
{
    struct tail tail = {
        .out = -1,
        .limit = UINT64_MAX,
        .stop_at_end = stop_at_end,
    };
    struct xensave_error error;

    tail.in = fuzz_file(data, size);
    lseek(tail.in, number % (size + 1), SEEK_SET);
    FUZZ_ASSERT(!tail_copy(&tail, &error), &error);
    FUZZ_ASSERT(tail.bytes <= size, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_control control;

    if (!fuzz_control(&control, &data, &size))
        return 0;
    switch (control.flags % 4) {
    case 0:
        read_head(data, size);
        break;
    case 1:
        read_tail(data, size, control.number, control.start & 1);
        break;
    default:
        walk(data, size);
    }
    return 0;
}
