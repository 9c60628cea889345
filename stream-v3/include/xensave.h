/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stream v3: save streams of Xen domains whose page contents lie on 4096.
 *
 * The format is specified in docs/spec/stream-v3.md; "spec N" below names its
 * sections.  This library knows no Xen library: it turns a v2 stream that is
 * pushed into it into v3, compat or v2, and back, and it moves the result to
 * and from files without filling the page cache.
 *
 * Errors: functions that can fail return 0 or -1 (or NULL) and fill a struct
 * xensave_error with one line of text: what, where and what to do.  Functions
 * with a parameter `error` clear it first.  Sinks, sources and indexes keep the
 * pointer: the struct must outlive them.  An encoder reports to the error of
 * its sink, a decoder to that of its source.  The first error stays; an object
 * that has failed stays failed.
 *
 * Options: initialise them with XENSAVE_IO_OPTIONS_INIT or
 * XENSAVE_ENCODER_OPTIONS_INIT, which set `size`.  Later versions may append
 * members.  A larger struct than the library knows is refused with errnum
 * E2BIG if anything beyond what it knows is not zero.
 *
 * Objects are not shared between threads without a lock of the caller's;
 * different objects are independent.  Lengths and offsets are in bytes.
 */
#ifndef XENSAVE_H
#define XENSAVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "xensave-format.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- errors ------------------------------------------------------------- */

struct xensave_error {
    int errnum;      /* an errno value; EBADMSG for a bad stream */
    bool has_offset; /* the two below say where */
    uint64_t offset; /* file offset */
    uint64_t record; /* records before this one */
    char text[512];  /* one line, no newline; "" while all is well */
};

/* ---- formats ------------------------------------------------------------ */

enum xensave_format {
    XENSAVE_FORMAT_V2,     /* Xen's own, untouched */
    XENSAVE_FORMAT_COMPAT, /* v2 with optional padding, spec 3.4 */
    XENSAVE_FORMAT_V3,
};

/* "v2", "compat", "v3". */
const char *xensave_format_name(enum xensave_format format);
/* -1 with errno EINVAL if `name` is none of the three. */
int xensave_format_parse(const char *name, enum xensave_format *format);

struct xensave_compression {
    enum xensave_codec codec;
    int level; /* from 1 on; 0: the codec's default */
    bool all;  /* every batch that gains by it; else only as
                             * long as the sink does not have to wait */
};

/* "none", "lz4", "zstd". */
const char *xensave_codec_name(enum xensave_codec codec);
/* The mandatory feature that it needs; 0 for none. */
uint64_t xensave_codec_feature(enum xensave_codec codec);
/*
 * "none", "lz4", "zstd", the latter two with or without ":LEVEL", 1 to 12 and
 * 1 to 19, and with or without ":all" behind that.  -1 with errno EINVAL if
 * `text` is none of these.
 */
int xensave_compression_parse(const char *text,
                              struct xensave_compression *compression);

struct xensave_totals {
    uint64_t records; /* of the encoded stream, all types */
    uint64_t batches; /* PAGE_DATA and ALIGNED_PAGE_DATA records */
    uint64_t pages_stored;
    uint64_t pages_zero; /* elided */
    uint64_t bytes;      /* of the encoded stream so far */
    uint64_t v2_bytes;   /* of the v2 stream so far */
};

/*
 * A domain that runs while it is saved is gone through several times: all of
 * its pages, then those that it has written to since.  The last entry counts
 * what belongs to it and to all that come later.
 */
#define XENSAVE_PASSES 16
struct xensave_passes {
    uint32_t count;
    uint64_t pages[XENSAVE_PASSES]; /* with contents, zero or not */
};

/* ---- moving bytes ------------------------------------------------------ */

enum xensave_io {
    XENSAVE_IO_AUTO,     /* direct; window where that is refused */
    XENSAVE_IO_DIRECT,   /* O_DIRECT or fail */
    XENSAVE_IO_WINDOW,   /* buffered, written back and dropped as it goes */
    XENSAVE_IO_BUFFERED, /* the page cache, as stock does */
};

enum xensave_engine {
    XENSAVE_ENGINE_AUTO, /* io_uring; threads where that is refused */
    XENSAVE_ENGINE_URING,
    XENSAVE_ENGINE_THREAD,
};

/* Zero in any other member means the default. */
struct xensave_io_options {
    size_t size; /* of this struct: XENSAVE_IO_OPTIONS_INIT */
    enum xensave_io io;
    enum xensave_engine engine;
    uint32_t buffer_size; /* a multiple of 65536; default 1 MiB */
    uint32_t buffers;     /* at least 8 for sinks; default 16 */
    uint64_t reserve;     /* sinks: bytes to preallocate, 0 for none */
};

#define XENSAVE_IO_OPTIONS_INIT                   \
    {                                             \
        .size = sizeof(struct xensave_io_options) \
    }

/* What was chosen, for messages, tests and `info`. */
struct xensave_io_state {
    enum xensave_io io;
    enum xensave_engine engine;
    uint32_t alignment; /* bytes that page contents are placed on */
    bool huge_pages;    /* the buffers are backed by huge pages */
};

const char *xensave_io_name(enum xensave_io io);
int xensave_io_parse(const char *name, enum xensave_io *io);
const char *xensave_engine_name(enum xensave_engine engine);
int xensave_engine_parse(const char *name, enum xensave_engine *engine);

/*
 * A sink takes bytes in order, from the file offset that `fd` has when it is
 * opened.  The fd stays the caller's; the data may travel through another
 * open file description of the same file (with O_DIRECT).
 */
struct xensave_sink;

/*
 * Regular file or block device.  `fd` must be open for writing.  Blocks that
 * the bytes before the offset share are written through `fd` itself.
 */
struct xensave_sink *xensave_sink_open_file(
    int fd, const struct xensave_io_options *options,
    struct xensave_error *error);
/* Pipe or socket, written in order; no rewriting. */
struct xensave_sink *xensave_sink_open_stream(int fd,
                                              struct xensave_error *error);
/*
 * Memory.  On success of xensave_sink_finish, `*data` (malloc, the caller's to
 * free) holds `*length` bytes.  `start` is the file offset to pretend.
 */
struct xensave_sink *xensave_sink_open_memory(uint64_t start, void **data,
                                              size_t *length,
                                              struct xensave_error *error);

int xensave_sink_write(struct xensave_sink *sink, const void *data,
                       size_t length);
/*
 * As many bytes of zero.  In a regular file, what lies behind the end that
 * it had when the sink was opened becomes a hole where it is large enough.
 */
int xensave_sink_skip(struct xensave_sink *sink, uint64_t length);
/* File offset of the next byte (stream sinks: bytes so far). */
uint64_t xensave_sink_offset(const struct xensave_sink *sink);
/*
 * Waits until every byte is written (not until it is on stable storage) and
 * leaves the offset of `fd` directly behind the last.
 */
int xensave_sink_finish(struct xensave_sink *sink);
/* Overwrites bytes at a file offset; only after xensave_sink_finish. */
int xensave_sink_rewrite(struct xensave_sink *sink, uint64_t offset,
                         const void *data, size_t length);
bool xensave_sink_can_rewrite(const struct xensave_sink *sink);
/*
 * fsync, also for a pipe or a terminal, which has nothing to bring to stable
 * storage.  -1 with errno: some of what was written may be lost.
 */
int xensave_fd_sync(int fd);
void xensave_sink_state(const struct xensave_sink *sink,
                        struct xensave_io_state *state);
/* Also ends a sink that was not finished; pending writes are waited for. */
void xensave_sink_free(struct xensave_sink *sink);

/* A source gives bytes in order, from the current offset of `fd`. */
struct xensave_source;

/* Regular file or block device: several reads ahead. */
struct xensave_source *xensave_source_open_file(
    int fd, const struct xensave_io_options *options,
    struct xensave_error *error);
/* Pipe or socket: never reads a byte more than asked for. */
struct xensave_source *xensave_source_open_stream(int fd,
                                                  struct xensave_error *error);
/* Memory of the caller's that outlives the source. */
struct xensave_source *xensave_source_open_memory(const void *data,
                                                  size_t length,
                                                  uint64_t start,
                                                  struct xensave_error *error);
/* All of `length` bytes or an error (end of file: errnum ENODATA). */
int xensave_source_read(struct xensave_source *source, void *data,
                        size_t length);
int xensave_source_skip(struct xensave_source *source, uint64_t length);
uint64_t xensave_source_offset(const struct xensave_source *source);
/* Leaves the offset of `fd` directly behind the last byte consumed. */
int xensave_source_finish(struct xensave_source *source);
void xensave_source_state(const struct xensave_source *source,
                          struct xensave_io_state *state);
void xensave_source_free(struct xensave_source *source);

/* ---- encoder: v2 bytes in, any format out ------------------------------ */

struct xensave_encoder_options {
    size_t size; /* of this struct: XENSAVE_ENCODER_OPTIONS_INIT */
    enum xensave_format format;
    uint32_t head_padding;                  /* compat: spec 3.4 */
    bool keep_zero_pages;                   /* v3: store zero pages too */
    struct xensave_compression compression; /* v3: spec 3.2.1 */
    uint32_t threads; /* that compress; 0: one for every CPU but one,
                             * at least 1 and at most 4 */
    /* v3: spec 3.1; all zero: a random one. */
    uint8_t file_id[XENSAVE_FILE_ID];
    /*
     * v3: spec 3.7, lines "key=value", each ended by a newline, in all at most
     * XENSAVE_IDENTITY_MAX bytes without the NUL.  xensave_encoder_new copies
     * them, and fails with errnum EINVAL if they are not as the spec says.
     * NULL: the stream has no ALIGNED_IDENTITY.
     */
    const char *identity;
};

#define XENSAVE_ENCODER_OPTIONS_INIT                   \
    {                                                  \
        .size = sizeof(struct xensave_encoder_options) \
    }

struct xensave_encoder;

/*
 * The stream start is the offset that the sink has now.  compat on a start
 * that is not a multiple of 8 fails with errnum EINVAL.
 */
struct xensave_encoder *xensave_encoder_new(
    struct xensave_sink *sink, const struct xensave_encoder_options *options);
/*
 * Bytes of the v2 stream, in pieces of any size.  The push that completes
 * the END record returns only after xensave_sink_finish; bytes after it are an
 * error.
 */
int xensave_encoder_push(struct xensave_encoder *encoder, const void *data,
                         size_t length);
int xensave_encoder_pushv(struct xensave_encoder *encoder,
                          const struct iovec *iov, int iovcnt);
/* END has been written. */
bool xensave_encoder_ended(const struct xensave_encoder *encoder);
void xensave_encoder_totals(const struct xensave_encoder *encoder,
                            struct xensave_totals *totals);
/*
 * Told by the pfns, which ascend within a pass: two passes of which the second
 * begins above the first's end count as one.  Not of XENSAVE_FORMAT_V2.
 */
void xensave_encoder_passes(const struct xensave_encoder *encoder,
                            struct xensave_passes *passes);
void xensave_encoder_free(struct xensave_encoder *encoder);
/*
 * The most bytes that the batches of a stream and its index take: each of
 * `pages` pages once, in full batches, and `others` pfns without contents.
 */
uint64_t xensave_encoder_most(enum xensave_format format, uint64_t pages,
                              uint64_t others);

/* ---- decoder: any format in, v2 bytes out ------------------------------ */

struct xensave_decoder;

/*
 * The source stands at the image header.  The format is found by reading.
 *
 * Where the source is memory, a file or a device and the stream may have
 * compressed batches, they are decompressed ahead: in as many threads as there
 * are CPUs, at most 4, with 8 MiB for each of these and 16 MiB more.  With one
 * CPU, or where no thread starts, the caller's does all of it.
 */
struct xensave_decoder *xensave_decoder_new(struct xensave_source *source);
/*
 * Exactly `length` bytes of the v2 stream.  Page contents are handed out
 * only after the checksum of their whole batch has matched.  The read that
 * takes the last byte of END calls xensave_source_finish.  Reading past END is
 * an error (errnum ENODATA).
 */
int xensave_decoder_read(struct xensave_decoder *decoder, void *data,
                         size_t length);
/* Up to `length` bytes, 0 at the end of the stream, -1 on error. */
ssize_t xensave_decoder_read_some(struct xensave_decoder *decoder, void *data,
                                  size_t length);
bool xensave_decoder_ended(const struct xensave_decoder *decoder);
/* Known once the domain header and 8 more bytes have been read. */
enum xensave_format xensave_decoder_format(
    const struct xensave_decoder *decoder);
/*
 * v3: lines "key=value", each ended by a newline (spec 3.7); NULL if there are
 * none.  Known once a byte behind the domain header has been read; the
 * decoder's.
 */
const char *xensave_decoder_identity(const struct xensave_decoder *decoder);
/*
 * The value of a key in such lines, which is not terminated: `*length` bytes.
 * NULL: it is not there.
 */
const char *xensave_identity_value(const char *identity, const char *key,
                                   size_t *length);
/* compat, known as the format is: NULs that were added to xl's head. */
uint32_t xensave_decoder_head_padding(const struct xensave_decoder *decoder);
void xensave_decoder_totals(const struct xensave_decoder *decoder,
                            struct xensave_totals *totals);
void xensave_decoder_free(struct xensave_decoder *decoder);

/* ---- save files --------------------------------------------------------- */

/* What a save file says of itself before its pages are read. */
struct xensave_file {
    bool xl_head;           /* begins with xl's own header */
    uint64_t config_offset; /* xl: the stored configuration (JSON), */
    uint64_t config_length; /*     without its NUL */
    uint64_t libxl_offset;  /* file offset of the libxl header */
    uint64_t stream_start;  /* file offset of the image header */
    uint32_t guest_type;    /* XENSAVE_V2_GUEST_PV, XENSAVE_V2_GUEST_HVM */
    uint16_t xen_major, xen_minor;
    uint32_t image_version; /* libxc image header version */
    enum xensave_format format;
    uint32_t head_padding;                /* compat */
    struct xensave_aligned_header header; /* v3 */
    uint32_t header_length; /* v3: of its record, what is not known included */
    uint64_t file_size;     /* of the file or device */
    bool is_device;
};

/*
 * Reads the head of a save file through pread on `fd`, whose offset does not
 * move.  `libxl_offset` is where the libxl header lies; UINT64_MAX: find it
 * behind xl's header at file offset 0; XENSAVE_LIBXL_SEARCH: also behind the
 * head of another toolstack, of at most 64 MiB.  After -1, `savefile` says
 * what was found until then.
 */
#define XENSAVE_LIBXL_SEARCH (UINT64_MAX - 1)
int xensave_file_probe(int fd, uint64_t libxl_offset,
                       struct xensave_file *savefile,
                       struct xensave_error *error);
/*
 * Refuses a v3 file that is not whole: state, length, checksums of head and
 * tail (spec 6).  v2 and compat files, which cannot tell, pass.
 */
int xensave_file_check(int fd, const struct xensave_file *savefile,
                       struct xensave_error *error);
/*
 * Commits a v3 file whose stream and tail are written (spec 5, without the
 * rename).  The tail ends at `file_length`; a regular file is truncated
 * there.  v2 and compat: fdatasync, truncation and fsync.
 */
int xensave_file_commit(int fd, const struct xensave_file *savefile,
                        uint64_t file_length, struct xensave_error *error);
/*
 * Spec 4: if the file begins with xl's header, which ends at the current
 * offset of `fd`, appends NULs so that a stream start 24 bytes on is a
 * multiple of 8, and says how many.  -1 with errnum EINVAL if the head is not
 * xl's and the start would not be a multiple of 8.
 */
int xensave_file_align_head(int fd, uint32_t *padding,
                            struct xensave_error *error);

/* ---- pages of a save file (spec 3.5) ------------------------------------ */

enum xensave_page_kind {
    XENSAVE_PAGE_ABSENT, /* the file holds no contents of the pfn */
    XENSAVE_PAGE_ZERO,   /* elided */
    XENSAVE_PAGE_STORED,
};

struct xensave_index_page {
    uint8_t kind;    /* enum xensave_page_kind */
    uint8_t type;    /* Xen's, bits 63-60 of the pfn entry */
    uint16_t place;  /* STORED: among the pages of its batch */
    uint32_t batch;  /* in the order of the stream */
    uint64_t offset; /* STORED: in the file; UINT64_MAX if the
                                 * batch is compressed */
};

struct xensave_index;

/*
 * The pages of a save file of any format; `savefile` as xensave_file_probe
 * filled it, `fd` readable and the caller's.  Where the file has no index,
 * its records are walked.  Of a pfn that was saved several times, the last
 * contents win; a later mention without contents does not undo them, as it
 * does not in Xen's restore.  Whether the file is whole is
 * xensave_file_check's to say.
 */
struct xensave_index *xensave_index_open(int fd,
                                         const struct xensave_file *savefile,
                                         struct xensave_error *error);
/* One more than the greatest pfn that has contents. */
uint64_t xensave_index_end(const struct xensave_index *index);
/* The least pfn from `from` on that has contents; UINT64_MAX: none. */
int xensave_index_next(struct xensave_index *index, uint64_t from,
                       uint64_t *pfn);
/* Batches that have contents. */
uint64_t xensave_index_batches(const struct xensave_index *index);
/* Finds `count` pfns in a row. */
int xensave_index_map(struct xensave_index *index, uint64_t first,
                      uint32_t count, struct xensave_index_page *pages);
/*
 * The 4096 bytes of a page.  v3: its frame is read (more of them where pages
 * are read in order), not through the page cache, its check tested, and it is
 * decompressed if it has to be.  v2, compat: its whole batch is read.  Kept are
 * the heads of 8 batches and 8 runs of frames of up to a batch each: at most
 * 33 MiB, and as much as a batch to read into.
 */
int xensave_index_read(struct xensave_index *index,
                       const struct xensave_index_page *page, void *contents);
/*
 * Whether two v3 files have the same pages among these pfns, by the checksums
 * in their indexes; false also if that cannot be told.  Spec 8 says what a
 * checksum misses.
 */
bool xensave_index_same(const struct xensave_index *a,
                        const struct xensave_index *b, uint64_t first,
                        uint32_t count);
/* The same of two stored pages, by the checks of their frames: 1, 0, or -1. */
int xensave_index_same_page(struct xensave_index *a,
                            const struct xensave_index_page *page_a,
                            struct xensave_index *b,
                            const struct xensave_index_page *page_b);
void xensave_index_free(struct xensave_index *index);

#ifdef __cplusplus
}
#endif

#endif /* XENSAVE_H */
