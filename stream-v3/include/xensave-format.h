/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of Xen's v2 stream and of stream v3 (docs/spec/stream-v3.md).
 * All fields are little-endian unless a comment says otherwise.
 */
#ifndef XENSAVE_FORMAT_H
#define XENSAVE_FORMAT_H

#include <stdint.h>

/* ---- Xen's own: docs/specs/libxc-migration-stream.pandoc ---------------- */

struct xensave_v2_image_header {
    uint64_t marker;
    uint32_t id;      /* big-endian */
    uint32_t version; /* big-endian */
    uint16_t options; /* big-endian; bit 0: big-endian stream */
    uint16_t reserved1;
    uint32_t reserved2;
};
#define XENSAVE_V2_IMAGE_MARKER     UINT64_MAX
#define XENSAVE_V2_IMAGE_ID         0x58454e46U /* "XENF" */
#define XENSAVE_V2_IMAGE_BIG_ENDIAN 1U

struct xensave_v2_domain_header {
    uint32_t type;
    uint16_t page_shift;
    uint16_t reserved;
    uint32_t xen_major;
    uint32_t xen_minor;
};
#define XENSAVE_V2_GUEST_PV  1U
#define XENSAVE_V2_GUEST_HVM 2U

struct xensave_v2_record_header {
    uint32_t type;
    uint32_t length;
};
#define XENSAVE_V2_RECORD_END       0U
#define XENSAVE_V2_RECORD_PAGE_DATA 1U
#define XENSAVE_V2_RECORD_OPTIONAL  0x80000000U
#define XENSAVE_V2_RECORD_MAX       (128U << 20)

struct xensave_v2_page_data_header {
    uint32_t count;
    uint32_t reserved;
};

#define XENSAVE_V2_PAGE_SIZE       4096U
#define XENSAVE_V2_PFN_TYPE_SHIFT  60
#define XENSAVE_V2_PFN_TYPE_BROKEN 0xdU /* from here on: no contents */
#define XENSAVE_V2_PFN_MASK        0x000fffffffffffffULL
#define XENSAVE_V2_PFN_RESERVED    0x0ff0000000000000ULL

/* libxl's layer: docs/specs/libxl-migration-stream.pandoc; big-endian. */
struct xensave_v2_libxl_header {
    uint64_t ident;   /* big-endian */
    uint32_t version; /* big-endian */
    uint32_t options; /* big-endian; bit 0: big-endian stream */
};
#define XENSAVE_V2_LIBXL_IDENT   0x4c6962786c466d74ULL /* "LibxlFmt" */
#define XENSAVE_V2_LIBXL_VERSION 2U
#define XENSAVE_V2_LIBXL_CONTEXT 1U /* record type */

/* xl's header: tools/xl/xl.h. */
struct xensave_v2_xl_header {
    char magic[32];
    uint32_t byteorder;
    uint32_t mandatory_flags;
    uint32_t optional_flags;
    uint32_t optional_data_len;
};
#define XENSAVE_V2_XL_MAGIC     "Xen saved domain, xl format\n \0 \r"
#define XENSAVE_V2_XL_BYTEORDER 0x01020304U

/* ---- stream v3 ---------------------------------------------------------- */

#define XENSAVE_RECORD_HEADER    0x414c0001U
#define XENSAVE_RECORD_PAGE_DATA 0x414c0002U
#define XENSAVE_RECORD_PADDING   0xc14c0003U
#define XENSAVE_RECORD_INDEX     0xc14c0004U
#define XENSAVE_RECORD_CHECK     0x414c0005U
#define XENSAVE_RECORD_IDENTITY  0xc14c0006U
/*
 * All of ours: type & MASK == VENDOR.  A reader skips one that it does not
 * know if it has bit XENSAVE_V2_RECORD_OPTIONAL, and refuses it otherwise.
 */
#define XENSAVE_RECORD_VENDOR_MASK 0x7fff0000U
#define XENSAVE_RECORD_VENDOR      0x414c0000U

#define XENSAVE_MAGIC              "XENALIGN"
#define XENSAVE_VERSION            3U
#define XENSAVE_BATCH_MAX          1024U
#define XENSAVE_ALIGNMENT_MIN      4096U
#define XENSAVE_ALIGNMENT_MAX      65536U
/* Head and tail of a file, each. */
#define XENSAVE_SURROUNDINGS_MAX (1U << 30)
#define XENSAVE_PFN_ZERO         (1ULL << 52)
#define XENSAVE_PFN_RESERVED     0x0fe0000000000000ULL
#define XENSAVE_FILE_ID          16U /* bytes */
#define XENSAVE_IDENTITY_MAX     4096U

enum xensave_state {
    XENSAVE_STATE_UNFINISHED = 0,
    XENSAVE_STATE_STREAMED = 1,
    XENSAVE_STATE_COMPLETE = 2,
};

#define XENSAVE_MANDATORY_LZ4  (1ULL << 0)
#define XENSAVE_MANDATORY_ZSTD (1ULL << 1)
#define XENSAVE_OPTIONAL_INDEX (1ULL << 0)

/* Spec 3.1: what this version knows; a header may be longer. */
#define XENSAVE_HEADER_MAX 4088U
struct xensave_aligned_header {
    char magic[8];
    uint32_t version;
    uint32_t min_reader_version;
    uint64_t mandatory_features;
    uint64_t optional_features;
    uint32_t alignment;
    uint32_t state;
    uint8_t file_id[XENSAVE_FILE_ID];
    uint64_t stream_start;
    uint64_t stream_length;
    uint64_t file_length;
    uint64_t index_offset;
    uint64_t batches;
    uint64_t pages_stored;
    uint64_t pages_zero;
    uint64_t head_checksum;
    uint64_t tail_checksum;
    uint64_t header_checksum;
};

/* Spec 3.2. */
struct xensave_aligned_page_data {
    uint32_t count;
    uint32_t pages;
    uint32_t pad_length;
    uint32_t flags;
    uint64_t number;
    uint64_t contents;
    uint64_t checksum;
};
/* Then uint64_t pfn[count], uint64_t check[frames], uint32_t end[frames]. */
#define XENSAVE_BATCH_CODEC_MASK  3U /* of flags: enum xensave_codec */
#define XENSAVE_BATCH_FRAME_SHIFT 4  /* of flags: log2 of pages per frame */
#define XENSAVE_BATCH_FRAME_MASK  0xf0U
#define XENSAVE_BATCH_FLAGS       0xf3U
#define XENSAVE_FRAME_LOG_MAX     10U

/* Spec 3.2.1; the values are the stream's. */
enum xensave_codec {
    XENSAVE_CODEC_NONE = 0,
    XENSAVE_CODEC_LZ4 = 1,
    XENSAVE_CODEC_ZSTD = 2,
};
#define XENSAVE_CODECS 3U

/* Spec 3.4. */
struct xensave_padding {
    char magic[8];
    uint32_t kind;
    uint32_t head_padding;
    uint64_t checksum;
};
#define XENSAVE_PADDING_START 1U
#define XENSAVE_PADDING_BATCH 2U
#define XENSAVE_PADDING_MAX   65536U

/* Spec 3.5; the entries of the batches, then those of the other records. */
struct xensave_aligned_index {
    uint32_t batches;
    uint32_t records;
    uint64_t checksum;
};

struct xensave_index_batch {
    uint64_t offset;
    uint64_t page_offset;
    uint64_t first_pfn;
    uint64_t last_pfn;
    uint32_t count;
    uint32_t pages;
    uint32_t stored;
    uint32_t flags;
    uint64_t contents;
    uint64_t checksum;
};

struct xensave_index_record {
    uint64_t offset;
    uint32_t type;
    uint32_t length;
    uint64_t checksum;
};

/* Spec 3.6. */
struct xensave_aligned_check {
    uint64_t batches;
    uint64_t pages_stored;
    uint64_t pages_zero;
    uint64_t records;
    uint64_t checksum;
};

#endif /* XENSAVE_FORMAT_H */
