/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Internal to this library. */
#ifndef XENSAVE_INTERNAL_H
#define XENSAVE_INTERNAL_H

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/fd.h"
#include "xensave.h"

#if __BYTE_ORDER != __LITTLE_ENDIAN
#error "stream v3 structures are mapped onto little-endian memory"
#endif

#define PUBLIC        __attribute__((visibility("default")))
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

/* The bytes of padding behind a record of this length. */
static inline uint32_t record_padding(uint32_t length)
{
    return -length & 7;
}

/* ---- error.c ------------------------------------------------------------ */

/* Both keep the first error and return -1, for `return xensave_fail(…)`. */
int xensave_fail(struct xensave_error *error, int errnum, const char *format,
                 ...) __attribute__((format(printf, 3, 4)));
int xensave_fail_at(struct xensave_error *error, int errnum, uint64_t offset,
                    uint64_t record, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/*
 * Copies a caller's options, which begin with their size, into `to` of `known`
 * bytes.  NULL stands for the defaults.
 */
int xensave_options_copy(void *to, size_t known, const void *from,
                         struct xensave_error *error);

struct xensave_name {
    int value;
    const char *name;
};
/* NULL, or -1 with errno EINVAL, if there is no such entry. */
const char *xensave_name_of(const struct xensave_name *names, size_t count,
                            int value);
int xensave_value_of(const struct xensave_name *names, size_t count,
                     const char *name, int *value);

/* ---- file.c: facts about a file and its device -------------------------- */

/* Multiple of 4096 that direct I/O needs; 0 if the kernel says it cannot. */
uint32_t xensave_direct_alignment(int fd);
/* Of a regular file or a block device. -1 with errno. */
int xensave_file_size(int fd, uint64_t *size, bool *is_device);
/* Bytes of the range that are in the page cache; -1 if unknown. */
int64_t xensave_resident(int fd, uint64_t offset, uint64_t length);
/*
 * Starts writing a range back, or waits until it is written.  The kernel
 * tells a descriptor of an error once: after -1 an fsync may return 0.
 */
int xensave_sync_range(int fd, uint64_t offset, uint64_t length, bool wait);

/* ---- buffers.c ---------------------------------------------------------- */

struct xensave_buffers {
    uint8_t *base;
    size_t length; /* mapped */
    size_t size;   /* of one buffer */
    uint32_t count;
    bool huge_pages;
};

int xensave_buffers_alloc(struct xensave_buffers *buffers, uint32_t count,
                          size_t size, struct xensave_error *error);
void xensave_buffers_free(struct xensave_buffers *buffers);

/* ---- sink.c ------------------------------------------------------------- */

struct xensave_sink_ops {
    /* Contiguous room for at least one and at most `want` bytes. */
    void *(*space)(struct xensave_sink *sink, size_t want, size_t *got);
    /* `length` bytes of the room have been filled. */
    void (*advance)(struct xensave_sink *sink, size_t length);
    /* The held bytes may go. */
    int (*release)(struct xensave_sink *sink);
    /* Rewrites bytes behind the hold; they are still in memory. */
    void (*patch)(struct xensave_sink *sink, uint64_t offset, const void *data,
                  size_t length);
    /* NULL, or bytes that are on their way: the device is not idle yet. */
    uint64_t (*pending)(struct xensave_sink *sink);
    /* NULL, or whether what is at the offset is zero without a write. */
    bool (*can_skip)(const struct xensave_sink *sink);
    /* Whole blocks, at a multiple of the alignment. */
    int (*skip)(struct xensave_sink *sink, uint64_t length);
    /* NULL, or see xensave_sink_settle. */
    int (*settle)(struct xensave_sink *sink);
    int (*finish)(struct xensave_sink *sink);
    int (*rewrite)(struct xensave_sink *sink, uint64_t offset,
                   const void *data, size_t length);
    void (*state)(const struct xensave_sink *sink,
                  struct xensave_io_state *state);
    void (*free)(struct xensave_sink *sink);
};

/*
 * What must stay in memory between hold and release: one batch, its headers
 * and padding, in the worst alignment.
 */
#define XENSAVE_HOLD_MAX                                   \
    (XENSAVE_BATCH_MAX * (XENSAVE_V2_PAGE_SIZE + 8 + 12) + \
     3 * XENSAVE_ALIGNMENT_MAX)

/* A hole that is smaller costs more in extents than its zeros would. */
#define XENSAVE_HOLE_MIN 16384U

struct xensave_sink {
    const struct xensave_sink_ops *ops;
    struct xensave_error *error;
    uint64_t offset;    /* file offset of the next byte */
    uint64_t hold;      /* first held byte, UINT64_MAX for none */
    uint32_t alignment; /* for page contents */
    bool rewritable;
    bool finished;
};

void xensave_sink_init(struct xensave_sink *sink,
                       const struct xensave_sink_ops *ops,
                       struct xensave_error *error);
void xensave_sink_hold(struct xensave_sink *sink);
int xensave_sink_release(struct xensave_sink *sink);
/* Ends the hold and writes over bytes from `offset`, which it covers. */
int xensave_sink_patch(struct xensave_sink *sink, uint64_t offset,
                       const void *data, size_t length);
int xensave_sink_zeros(struct xensave_sink *sink, size_t length);
/*
 * Where there may be an earlier save (a device, a file that is not empty),
 * what has been written so far, and zeros behind it, are on stable storage
 * before anything else is: spec 5 step 1.
 */
int xensave_sink_settle(struct xensave_sink *sink);
#define XENSAVE_SETTLED_ZEROS 144U /* ALIGNED_HEADER with its record header */

/* ---- source.c ----------------------------------------------------------- */

struct xensave_source_ops {
    int (*read)(struct xensave_source *source, void *data, size_t length);
    int (*skip)(struct xensave_source *source, uint64_t length);
    /* NULL, or nothing from that offset on will be asked for. */
    void (*limit)(struct xensave_source *source, uint64_t end);
    int (*finish)(struct xensave_source *source);
    void (*state)(const struct xensave_source *source,
                  struct xensave_io_state *state);
    void (*free)(struct xensave_source *source);
};

struct xensave_source {
    const struct xensave_source_ops *ops;
    struct xensave_error *error;
    uint64_t offset;
    bool ready; /* all of it is there: a read does not wait for a writer */
};

/* errnum ENODATA, in one wording for every source. */
int xensave_source_ended(struct xensave_source *source);
struct xensave_source *xensave_source_open_cached(int fd, bool drop_behind,
                                                  struct xensave_error *error);

/* ---- header.c ----------------------------------------------------------- */

struct xensave_header_record {
    struct xensave_v2_record_header record;
    struct xensave_aligned_header body;
    /* Of later versions: the length of the record says how many. */
    uint8_t later[XENSAVE_HEADER_MAX - sizeof(struct xensave_aligned_header)];
};

static inline size_t xensave_header_length(
    const struct xensave_header_record *header)
{
    return sizeof(header->record) + header->record.length;
}

/*
 * No stream is shorter than its headers, ALIGNED_CHECK and END.  The tail of
 * one that were would have ALIGNED_HEADER in it, which the commit rewrites.
 */
#define XENSAVE_STREAM_LEAST                   \
    (sizeof(struct xensave_v2_image_header) +  \
     sizeof(struct xensave_v2_domain_header) + \
     sizeof(struct xensave_aligned_header) +   \
     sizeof(struct xensave_aligned_check) +    \
     3 * sizeof(struct xensave_v2_record_header))

void xensave_header_seal(struct xensave_header_record *header);
/* So much may be read of it. */
static inline bool xensave_header_length_fits(uint32_t length)
{
    return length >= sizeof(struct xensave_aligned_header) &&
           length <= XENSAVE_HEADER_MAX && length % 8 == 0;
}
/* `offset` is the record's, for the error.  All of it has been read. */
int xensave_header_validate(const struct xensave_header_record *header,
                            uint64_t offset, struct xensave_error *error);

/* ---- identity.c ---------------------------------------------------------- */

/* Lines "key=value", each with its newline, are as spec 3.7 says. */
bool xensave_identity_fits(const char *lines);
/* Makes the body of a record of them, in place; returns its length. */
size_t xensave_identity_to_body(char *text);
/* The reverse; `body` has room for a NUL.  False if it is malformed. */
bool xensave_identity_from_body(char *body, size_t length);

/* ---- padding.c ---------------------------------------------------------- */

struct xensave_padding_record {
    struct xensave_v2_record_header record;
    struct xensave_padding body;
};

void xensave_padding_init(struct xensave_padding_record *padding,
                          uint32_t kind);
uint64_t xensave_padding_start_checksum(
    const struct xensave_padding_record *padding);
/* The whole record is what begins a compat stream. */
bool xensave_padding_is_start(const struct xensave_padding_record *padding);

/* ---- record.c ----------------------------------------------------------- */

static inline bool xensave_pfn_has_contents(uint64_t pfn)
{
    return pfn >> XENSAVE_V2_PFN_TYPE_SHIFT < XENSAVE_V2_PFN_TYPE_BROKEN;
}

struct xensave_pfns {
    uint32_t contents, stored; /* stored: contents without the zero pages */
    uint64_t first, last;      /* of those with contents */
};
/* False if a pfn of a batch is invalid.  `zero_bit`: ALIGNED_PAGE_DATA. */
bool xensave_pfns_check(const uint64_t *pfns, uint32_t count, bool zero_bit,
                        struct xensave_pfns *seen);

uint32_t xensave_count_contents(const uint64_t *pfns, uint32_t count);
/* Spec 3.3: this PAGE_DATA gives the same bytes back when re-encoded. */
bool xensave_page_data_regular(
    const struct xensave_v2_record_header *record,
    const struct xensave_v2_page_data_header *page_data, const uint64_t *pfns);
/* NULL if the type is unknown. */
const char *xensave_record_name(uint32_t type);
const char *xensave_libxl_record_name(uint32_t type);

#endif /* XENSAVE_INTERNAL_H */
