/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changes that keep a stream a stream: bytes inside one record, fields,
 * records removed, repeated, exchanged, inserted.
 */
#include <string.h>

#include "fuzz.h"

#define RECORDS_MAX 256
#define RECORD      sizeof(struct xensave_v2_record_header)

struct stream {
    uint8_t *data;
    size_t size, max, start;
    struct fuzz_random *random;
    struct fuzz_record records[RECORDS_MAX];
    size_t count;
};

static uint32_t below(struct stream *stream, uint32_t bound)
{
    return fuzz_below(stream->random, bound);
}

static void put32(struct stream *stream, size_t at, uint32_t value)
{
    if (at + sizeof(value) <= stream->size)
        memcpy(stream->data + at, &value, sizeof(value));
}

/* Makes `length` bytes at `at` become `to` bytes; false without room. */
static bool resize(struct stream *stream, size_t at, size_t length, size_t to)
{
    if (to > length && to - length > stream->max - stream->size)
        return false;
    memmove(stream->data + at + to, stream->data + at + length,
            stream->size - at - length);
    if (to > length)
        memset(stream->data + at + length, 0, to - length);
    stream->size = stream->size - length + to;
    return true;
}

static const uint32_t values[] = {
    0,         1,          2,          3,          4,          7,
    8,         16,         24,         40,         120,        1023,
    1024,      1025,       4064,       4095,       4096,       4097,
    65535,     65536,      65537,      0x7fffffff, 0x7ffffff8, 0x8000000,
    0x8000001, 0x80000000, 0xfffffff8, 0xffffffff,
};

static const uint32_t types[] = {
    XENSAVE_V2_RECORD_END,
    XENSAVE_V2_RECORD_PAGE_DATA,
    0x2,
    0x3,
    0x4,
    0x7,
    0x9,
    0xd,
    0x12,
    0x13,
    0x80000000,
    0x414c0000,
    XENSAVE_RECORD_HEADER,
    XENSAVE_RECORD_PAGE_DATA,
    XENSAVE_RECORD_PADDING,
    XENSAVE_RECORD_INDEX,
    XENSAVE_RECORD_CHECK,
    XENSAVE_RECORD_IDENTITY,
    0x414c0006,
    0xc14c0007,
    0xc14c0001,
    0xc14c0002,
    0xc14cffff,
    0xc14b0000,
    0x414d0000,
};

#define ANY(stream, array) \
    ((array)[below(stream, sizeof(array) / sizeof((array)[0]))])

/* ---- new records -------------------------------------------------------- */

static size_t new_aligned(struct stream *stream, uint8_t *to)
{
    struct xensave_aligned_page_data head = { .count = 1 + below(stream, 4) };
    size_t length = sizeof(head) + 8 * head.count;
    uint64_t pfns[4] = { 0 };
    bool stored = !below(stream, 3);
    uint32_t end = XENSAVE_V2_PAGE_SIZE;

    head.flags = below(stream, 11) << XENSAVE_BATCH_FRAME_SHIFT;
    for (uint32_t i = 0; i < head.count; i++) {
        pfns[i] = below(stream, 1 << 20);
        if (!i && stored)
            continue;
        pfns[i] |= below(stream, 2) ? XENSAVE_PFN_ZERO
                                    : (0xdULL + below(stream, 3))
                                          << XENSAVE_V2_PFN_TYPE_SHIFT;
    }
    if (stored) {
        head.pages = 1;
        memset(to + length, 0, 8);
        memcpy(to + length + 8, &end, sizeof(end));
        length += 12;
        head.pad_length = below(stream, 2) ? 0 : below(stream, 64);
        memset(to + length, 0, head.pad_length);
        length += head.pad_length;
        memset(to + length, below(stream, 256), XENSAVE_V2_PAGE_SIZE);
        length += XENSAVE_V2_PAGE_SIZE;
    }
    memcpy(to, &head, sizeof(head));
    memcpy(to + sizeof(head), pfns, 8 * head.count);
    return length;
}

/* Bytes that LZ4 decompresses to `length` times `byte`. */
static size_t lz4_run(uint8_t *to, uint8_t byte, size_t length)
{
    size_t left = length - 1 - 5 - 4 - 15, n = 0;

    to[n++] = 0x1f;
    to[n++] = byte;
    to[n++] = 1;
    to[n++] = 0;
    for (; left >= 255; left -= 255)
        to[n++] = 255;
    to[n++] = left;
    to[n++] = 0x50;
    memset(to + n, byte, 5);
    return n + 5;
}

/* The same for Zstandard: one RLE block, or one for each page. */
static size_t zstd_run(uint8_t *to, uint8_t byte, uint32_t length,
                       bool by_page)
{
    static const uint8_t begin[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x80, 0x60 };
    uint32_t part = by_page ? XENSAVE_V2_PAGE_SIZE : length, header;
    size_t n = sizeof(begin);

    memcpy(to, begin, n);
    memcpy(to + n, &length, sizeof(length));
    n += sizeof(length);
    for (; length; length -= part) {
        header = part << 3 | 1 << 1 | (part == length);
        memcpy(to + n, &header, 3);
        n += 3;
        to[n++] = byte;
    }
    return n;
}

/* A compressed batch; now and then not quite of its length. */
static size_t new_packed(struct stream *stream, uint8_t *to)
{
    struct xensave_aligned_page_data head = {
        .count = 2 + below(stream, 3),
        .flags = 1 + below(stream, 2),
    };
    uint64_t pfns[4] = { 0 };
    size_t length = sizeof(head) + 8 * head.count, bytes, table, begin;
    uint32_t codec = head.flags, end;

    head.flags |= (2 + below(stream, 9)) << XENSAVE_BATCH_FRAME_SHIFT;
    head.pages = head.count;
    for (uint32_t i = 0; i < head.count; i++)
        pfns[i] = below(stream, 1 << 20);
    if (head.count > 2 && !below(stream, 2)) {
        pfns[1] |= XENSAVE_PFN_ZERO;
        head.pages--;
    }
    bytes = (size_t)head.pages * XENSAVE_V2_PAGE_SIZE;
    if (!below(stream, 4))
        bytes += (int)below(stream, 3) - 1;
    table = length;
    length += 12;
    head.pad_length = below(stream, 2) ? 0 : below(stream, 64);
    memset(to + length, 0, head.pad_length);
    length += head.pad_length;
    begin = length;
    if (codec == XENSAVE_CODEC_LZ4)
        length += lz4_run(to + length, 1 + below(stream, 255), bytes);
    else
        length += zstd_run(to + length, 1 + below(stream, 255), bytes,
                           bytes % XENSAVE_V2_PAGE_SIZE == 0 &&
                               below(stream, 2));
    end = length - begin;
    memset(to + table, 0, 8);
    memcpy(to + table + 8, &end, sizeof(end));
    memcpy(to, &head, sizeof(head));
    memcpy(to + sizeof(head), pfns, 8 * head.count);
    return length;
}

static size_t new_page_data(struct stream *stream, uint8_t *to)
{
    struct xensave_v2_page_data_header head = { 1 + below(stream, 4), 0 };
    size_t length = sizeof(head) + 8 * head.count;
    bool stored = !below(stream, 3);
    uint64_t pfn;

    memcpy(to, &head, sizeof(head));
    for (uint32_t i = 0; i < head.count; i++) {
        pfn = below(stream, 1 << 20);
        if (i || !stored)
            pfn |= (0xdULL + below(stream, 3)) << XENSAVE_V2_PFN_TYPE_SHIFT;
        memcpy(to + sizeof(head) + 8 * i, &pfn, 8);
    }
    if (stored) {
        memset(to + length, below(stream, 2) ? 0 : below(stream, 256),
               XENSAVE_V2_PAGE_SIZE);
        length += XENSAVE_V2_PAGE_SIZE;
    }
    return length;
}

static size_t new_padding(struct stream *stream, uint8_t *to)
{
    struct xensave_padding padding = {
        .magic = { 'X', 'E', 'N', 'A', 'L', 'I', 'G', 'N' },
        .kind = 1 + below(stream, 2),
    };
    size_t zeros = 8 * below(stream, 4);

    memcpy(to, &padding, sizeof(padding));
    memset(to + sizeof(padding), 0, zeros);
    return sizeof(padding) + zeros;
}

static size_t new_index(struct stream *stream, uint8_t *to)
{
    struct xensave_aligned_index index = { .batches = below(stream, 3),
                                           .records = below(stream, 3) };
    size_t length = index.batches * sizeof(struct xensave_index_batch) +
                    index.records * sizeof(struct xensave_index_record);

    memcpy(to, &index, sizeof(index));
    memset(to + sizeof(index), 0, length);
    return sizeof(index) + length;
}

static size_t new_identity(struct stream *stream, uint8_t *to)
{
    static const char pairs[] = "name=web01\0uuid=\0name=b";

    memcpy(to, pairs, sizeof(pairs));
    return below(stream, sizeof(pairs) + 1);
}

static size_t new_check(struct stream *stream, uint8_t *to)
{
    (void)stream;
    memset(to, 0, sizeof(struct xensave_aligned_check));
    return sizeof(struct xensave_aligned_check);
}

static size_t new_header(struct stream *stream, uint8_t *to)
{
    struct xensave_aligned_header header = {
        .magic = { 'X', 'E', 'N', 'A', 'L', 'I', 'G', 'N' },
        .version = XENSAVE_VERSION,
        .min_reader_version = XENSAVE_VERSION,
        .mandatory_features = below(stream, 4),
        .optional_features = XENSAVE_OPTIONAL_INDEX,
        .alignment = XENSAVE_ALIGNMENT_MIN << below(stream, 5),
        .state = below(stream, 4),
    };

    memcpy(to, &header, sizeof(header));
    return sizeof(header);
}

static size_t new_context(struct stream *stream, uint8_t *to)
{
    size_t length = below(stream, 50);

    memset(to, below(stream, 256), length);
    return length;
}

static size_t new_pv_info(struct stream *stream, uint8_t *to)
{
    memset(to, 0, 8);
    to[0] = below(stream, 2) ? 4 : 8;
    return 8;
}

/* Frames of as much as the range says, for either width. */
static size_t new_p2m_frames(struct stream *stream, uint8_t *to)
{
    uint32_t entries = below(stream, 2) ? 512 : 1024;
    uint32_t frames = 1 + below(stream, 20);
    uint32_t first = below(stream, 2) ? 0 : entries * below(stream, 4000000);
    uint32_t range[2] = { first, first + frames * entries - 1 };
    uint64_t pfn;

    memcpy(to, range, sizeof(range));
    for (uint32_t i = 0; i < frames; i++) {
        pfn = below(stream, 16);
        memcpy(to + sizeof(range) + 8 * i, &pfn, 8);
    }
    return sizeof(range) + 8 * frames;
}

/* Empty records of CPUs, and an end. */
static size_t new_hvm_context(struct stream *stream, uint8_t *to)
{
    struct {
        uint16_t type, instance;
        uint32_t length;
    } entry;
    uint32_t count = below(stream, 4), i;
    size_t length = 0;

    for (i = 0; i <= count; i++) {
        entry.type = i < count ? 2 : 0;
        entry.instance = i;
        entry.length = i < count ? 1016 + 8 * below(stream, 3) : 0;
        memcpy(to + length, &entry, sizeof(entry));
        memset(to + length + sizeof(entry), below(stream, 256), entry.length);
        length += sizeof(entry) + entry.length;
    }
    return length;
}

static const struct {
    uint32_t type;
    size_t (*make)(struct stream *stream, uint8_t *to);
} makers[] = {
    { XENSAVE_RECORD_PAGE_DATA, new_aligned },
    { XENSAVE_RECORD_PAGE_DATA, new_aligned },
    { XENSAVE_RECORD_PAGE_DATA, new_packed },
    { XENSAVE_RECORD_PAGE_DATA, new_packed },
    { XENSAVE_V2_RECORD_PAGE_DATA, new_page_data },
    { XENSAVE_V2_RECORD_PAGE_DATA, new_page_data },
    { XENSAVE_RECORD_PADDING, new_padding },
    { XENSAVE_RECORD_INDEX, new_index },
    { XENSAVE_RECORD_CHECK, new_check },
    { XENSAVE_RECORD_HEADER, new_header },
    { XENSAVE_RECORD_IDENTITY, new_identity },
    { 0xc14c0007, new_context },
    { 0x2, new_pv_info },
    { 0x3, new_p2m_frames },
    { 0x9, new_hvm_context },
    { 0x9, new_context },
    { 0x80000013, new_context },
};

/* ---- changes ------------------------------------------------------------ */

static void insert(struct stream *stream, struct fuzz_record *record)
{
    static uint8_t fresh[RECORD + XENSAVE_V2_PAGE_SIZE + 512];
    uint32_t n = below(stream, sizeof(makers) / sizeof(makers[0]));
    struct xensave_v2_record_header header = { .type = makers[n].type };
    size_t bytes;

    header.length = makers[n].make(stream, fresh + RECORD);
    memcpy(fresh, &header, sizeof(header));
    memset(fresh + RECORD + header.length, 0, 8);
    bytes = RECORD + ((header.length + 7) & ~7U);
    if (resize(stream, record->offset, 0, bytes))
        memcpy(stream->data + record->offset, fresh, bytes);
}

static void erase(struct stream *stream, struct fuzz_record *record)
{
    resize(stream, record->offset, record->bytes, 0);
}

static void repeat(struct stream *stream, struct fuzz_record *record)
{
    if (resize(stream, record->offset, 0, record->bytes))
        memcpy(stream->data + record->offset,
               stream->data + record->offset + record->bytes, record->bytes);
}

/* With the one behind it. */
static void exchange(struct stream *stream, struct fuzz_record *record)
{
    static uint8_t held[1 << 17];
    struct fuzz_record *next = record + 1;

    if (next >= stream->records + stream->count ||
        record->bytes > sizeof(held))
        return;
    memcpy(held, stream->data + record->offset, record->bytes);
    memmove(stream->data + record->offset, stream->data + next->offset,
            next->bytes);
    memcpy(stream->data + record->offset + next->bytes, held, record->bytes);
}

static void set_field(struct stream *stream, struct fuzz_record *record)
{
    size_t at = record->offset + 4 * (size_t)below(stream, 34);
    uint32_t value;

    if (at + sizeof(value) > stream->size)
        return;
    memcpy(&value, stream->data + at, sizeof(value));
    switch (below(stream, 3)) {
    case 0:
        value = ANY(stream, values);
        break;
    case 1:
        value ^= 1U << below(stream, 32);
        break;
    default:
        value += (int)below(stream, 17) - 8;
    }
    put32(stream, at, value);
}

static void set_type(struct stream *stream, struct fuzz_record *record)
{
    put32(stream, record->offset, ANY(stream, types));
}

/* libFuzzer's own mutations of a body; the length follows. */
static void change_body(struct stream *stream, struct fuzz_record *record)
{
    static uint8_t body[1 << 17];
    size_t begin = record->offset + RECORD, length = record->length;
    size_t room = stream->max - stream->size + length, bytes;

    if (room > length + 4096)
        room = length + 4096;
    if (room > sizeof(body) - 8)
        room = sizeof(body) - 8;
    if (!room || length > room)
        return;
    memcpy(body, stream->data + begin, length);
    length = LLVMFuzzerMutate(body, length, room);
    memset(body + length, 0, 8);
    bytes = (length + 7) & ~(size_t)7;
    if (!resize(stream, begin, record->bytes - RECORD, bytes))
        return;
    memcpy(stream->data + begin, body, bytes);
    put32(stream, record->offset + 4, length);
}

/* The header announces what there may be, or less. */
static void announce(struct stream *stream, struct fuzz_record *record)
{
    (void)record;
    record = stream->records;
    if (record->type == XENSAVE_RECORD_HEADER &&
        record->length == sizeof(struct xensave_aligned_header))
        put32(stream,
              record->offset + RECORD +
                  offsetof(struct xensave_aligned_header, mandatory_features),
              3 - (below(stream, 4) ? 0 : below(stream, 4)));
}

/* The length of an ALIGNED_PAGE_DATA made to agree with its counts. */
static void repair(struct stream *stream, struct fuzz_record *record)
{
    struct xensave_aligned_page_data head;
    size_t begin = record->offset + RECORD, length;
    uint32_t log;

    if (record->type != XENSAVE_RECORD_PAGE_DATA ||
        record->length < sizeof(head))
        return;
    memcpy(&head, stream->data + begin, sizeof(head));
    head.count %= XENSAVE_BATCH_MAX + 1;
    head.pages %= head.count + 1;
    head.pad_length %= XENSAVE_ALIGNMENT_MAX;
    /* What is compressed has whatever length it has. */
    if (head.flags & XENSAVE_BATCH_CODEC_MASK)
        return;
    head.flags &= XENSAVE_BATCH_FLAGS;
    log = head.flags >> XENSAVE_BATCH_FRAME_SHIFT;
    length = sizeof(head) + 8 * head.count +
             12 * (((size_t)head.pages + (1U << log) - 1) >> log) +
             head.pad_length + (size_t)head.pages * XENSAVE_V2_PAGE_SIZE;
    if (!resize(stream, begin, record->bytes - RECORD,
                (length + 7) & ~(size_t)7))
        return;
    memcpy(stream->data + begin, &head, sizeof(head));
    put32(stream, record->offset + 4, length);
}

static void (*const changes[])(struct stream *, struct fuzz_record *) = {
    insert,      insert,      erase,     repeat,   exchange,
    set_field,   set_field,   set_field, set_type, change_body,
    change_body, change_body, repair,    announce,
};

size_t fuzz_mutate(uint8_t *data, size_t size, size_t max, size_t start,
                   struct fuzz_random *random)
{
    static struct stream stream;
    uint32_t times = 1 + fuzz_below(random, 3);

    stream.data = data;
    stream.size = size;
    stream.max = max;
    stream.start = start;
    stream.random = random;
    while (times--) {
        stream.count = fuzz_records(data, stream.size, start, stream.records,
                                    RECORDS_MAX);
        if (!stream.count || !below(&stream, 12))
            stream.size = LLVMFuzzerMutate(data, stream.size, max);
        else
            (ANY(&stream,
                 changes))(&stream,
                           &stream.records[below(&stream, stream.count)]);
    }
    return stream.size;
}
