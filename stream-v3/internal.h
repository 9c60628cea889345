/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of this library share, and nobody else sees. */
#ifndef STREAM_V3_INTERNAL_H
#define STREAM_V3_INTERNAL_H

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "xensave.h"

#if __BYTE_ORDER != __LITTLE_ENDIAN
#error "stream v3 structures are mapped onto little-endian memory"
#endif

#define PUBLIC __attribute__((visibility("default")))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

static inline uint64_t round_down(uint64_t value, uint64_t to)
{
    return value / to * to;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The octets of padding behind a record of this length. */
static inline uint32_t record_padding(uint32_t length)
{
    return -length & 7;
}

/* ---- error.c ------------------------------------------------------------ */

/* Both keep the first error and return -1, for `return v3_fail(…)`. */
int v3_fail(struct v3_error *error, int errnum, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int v3_fail_at(struct v3_error *error, int errnum, uint64_t offset,
               uint64_t record, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

struct v3_name {
    int value;
    const char *name;
};
/* NULL, or -1 with errno EINVAL, if there is no such entry. */
const char *v3_name_of(const struct v3_name *names, size_t count, int value);
int v3_value_of(const struct v3_name *names, size_t count, const char *name,
                int *value);

/* ---- file.c: facts about a file and its device --------------------------- */

/*
 * A second open file description of the file behind `fd`, so that neither
 * flags nor offset are shared.  -1 with errno.
 */
int v3_reopen(int fd, int flags);
/* Multiple of 4096 that direct I/O needs; 0 if the kernel says it cannot. */
uint32_t v3_direct_alignment(int fd);
/* Of a regular file or a block device. -1 with errno. */
int v3_file_size(int fd, uint64_t *size, bool *is_device);
/* The path behind a descriptor, for messages. */
void v3_fd_name(int fd, char *name, size_t length);
/* Octets of the range that are in the page cache; -1 if unknown. */
int64_t v3_resident(int fd, uint64_t offset, uint64_t length);
int v3_pread_exact(int fd, void *data, size_t length, uint64_t offset);
int v3_pwrite_exact(int fd, const void *data, size_t length,
                    uint64_t offset);
/*
 * Starts writing a range back, or waits until it is written.  The kernel
 * tells a descriptor of an error once: after -1 an fsync may return 0.
 */
int v3_sync_range(int fd, uint64_t offset, uint64_t length, bool wait);

/* ---- buffers.c ----------------------------------------------------------- */

struct v3_buffers {
    uint8_t *base;
    size_t length;              /* mapped */
    size_t size;                /* of one buffer */
    uint32_t count;
    bool huge_pages;
};

int v3_buffers_alloc(struct v3_buffers *buffers, uint32_t count, size_t size,
                     struct v3_error *error);
void v3_buffers_free(struct v3_buffers *buffers);

/* ---- sink.c ---------------------------------------------------------------- */

struct v3_sink_ops {
    /* Contiguous room for at least one and at most `want` octets. */
    void *(*room)(struct v3_sink *sink, size_t want, size_t *got);
    /* `length` octets of the room have been filled. */
    void (*advance)(struct v3_sink *sink, size_t length);
    /* The held octets may go. */
    int (*release)(struct v3_sink *sink);
    /* Rewrites octets behind the hold; they are still in memory. */
    void (*patch)(struct v3_sink *sink, uint64_t offset, const void *data,
                  size_t length);
    /* NULL, or octets that are on their way: the device is not idle yet. */
    uint64_t (*pending)(struct v3_sink *sink);
    /* NULL, or whether what is at the offset is zero without a write. */
    bool (*can_skip)(const struct v3_sink *sink);
    /* Whole blocks, at a multiple of the alignment. */
    int (*skip)(struct v3_sink *sink, uint64_t length);
    /* NULL, or see v3_sink_settle. */
    int (*settle)(struct v3_sink *sink);
    int (*finish)(struct v3_sink *sink);
    int (*rewrite)(struct v3_sink *sink, uint64_t offset, const void *data,
                   size_t length);
    void (*state)(const struct v3_sink *sink, struct v3_io_state *state);
    void (*free)(struct v3_sink *sink);
};

/*
 * What must stay in memory between hold and release: one batch, its headers
 * and padding, in the worst alignment.
 */
#define V3_HOLD_MAX (V3_BATCH_MAX * (V2_PAGE_SIZE + 8) + 2 * V3_ALIGNMENT_MAX)

/* A hole that is smaller costs more in extents than its zeros would. */
#define V3_HOLE_MIN 16384U

struct v3_sink {
    const struct v3_sink_ops *ops;
    struct v3_error *error;
    uint64_t offset;            /* file offset of the next octet */
    uint64_t hold;              /* first held octet, UINT64_MAX for none */
    uint32_t alignment;         /* for page contents */
    bool rewritable;
    bool finished;
};

void v3_sink_init(struct v3_sink *sink, const struct v3_sink_ops *ops,
                  struct v3_error *error);
void v3_sink_hold(struct v3_sink *sink);
int v3_sink_release(struct v3_sink *sink);
/* Ends the hold and writes over octets from `offset`, which it covers. */
int v3_sink_patch(struct v3_sink *sink, uint64_t offset, const void *data,
                  size_t length);
int v3_sink_zeros(struct v3_sink *sink, size_t length);
/*
 * Where there may be an earlier save (a device, a file that is not empty),
 * what has been written so far, and zeros behind it, are on stable storage
 * before anything else is: spec 5 step 1.
 */
int v3_sink_settle(struct v3_sink *sink);
#define V3_SETTLED_ZEROS 128U   /* ALIGNED_HEADER with its record header */

/* ---- source.c --------------------------------------------------------------- */

struct v3_source_ops {
    int (*read)(struct v3_source *source, void *data, size_t length);
    int (*skip)(struct v3_source *source, uint64_t length);
    int (*finish)(struct v3_source *source);
    void (*state)(const struct v3_source *source, struct v3_io_state *state);
    void (*free)(struct v3_source *source);
};

struct v3_source {
    const struct v3_source_ops *ops;
    struct v3_error *error;
    uint64_t offset;
};

/* errnum ENODATA, in one wording for every source. */
int v3_source_ended(struct v3_source *source);
struct v3_source *v3_source_open_cached(int fd, bool drop_behind,
                                        struct v3_error *error);

/* ---- header.c --------------------------------------------------------------- */

struct v3_header_record {
    struct v2_record_header record;
    struct v3_aligned_header body;
};

/*
 * No stream is shorter than its headers, ALIGNED_CHECK and END.  The tail of
 * one that were would have ALIGNED_HEADER in it, which the commit rewrites.
 */
#define V3_STREAM_LEAST (sizeof(struct v2_image_header) + \
                         sizeof(struct v2_domain_header) + \
                         sizeof(struct v3_header_record) + \
                         sizeof(struct v3_aligned_check) + \
                         2 * sizeof(struct v2_record_header))

void v3_header_seal(struct v3_header_record *header);
/* `offset` is the record's, for the error. */
int v3_header_validate(const struct v3_header_record *header,
                       uint64_t offset, struct v3_error *error);

/* ---- padding.c ------------------------------------------------------------- */

struct v3_padding_record {
    struct v2_record_header record;
    struct v3_padding body;
};

void v3_padding_init(struct v3_padding_record *padding, uint32_t kind);
uint64_t v3_padding_start_checksum(const struct v3_padding_record *padding);
/* The whole record is what begins a compat stream. */
bool v3_padding_is_start(const struct v3_padding_record *padding);

/* ---- record.c ------------------------------------------------------------- */

static inline bool v3_pfn_has_contents(uint64_t pfn)
{
    return pfn >> V2_PFN_TYPE_SHIFT < V2_PFN_TYPE_BROKEN;
}

uint32_t v3_count_contents(const uint64_t *pfns, uint32_t count);
/* Spec 3.3: this PAGE_DATA gives the same octets back when re-encoded. */
bool v3_page_data_regular(const struct v2_record_header *record,
                          const struct v2_page_data_header *page_data,
                          const uint64_t *pfns);
const char *v3_record_name(uint32_t type);

#endif /* STREAM_V3_INTERNAL_H */
