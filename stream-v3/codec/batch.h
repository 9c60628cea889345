/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ALIGNED_PAGE_DATA, spec 3.2: what the encoder writes and what the readers of
 * the stream and of the index hold it against.
 */
#ifndef XENSAVE_BATCH_H
#define XENSAVE_BATCH_H

#include "codec.h"
#include "record.h"

/*
 * Pages of a frame, as logarithms: docs/measurements/frames.md.  The frame
 * table of a full batch without compression stays below one block.
 */
#define XENSAVE_FRAME_LOG_PLAIN  2U
#define XENSAVE_FRAME_LOG_PACKED 4U
#define XENSAVE_FRAME_ENTRY      12U /* bytes: check and end */

/*
 * The record up to its padding, as it is in the stream: behind the header come
 * the pfns, the checks and the ends of the frames, each as many as there are.
 */
struct xensave_batch_head {
    struct xensave_v2_record_header record;
    struct xensave_aligned_page_data aligned;
    uint64_t arrays[2 * XENSAVE_BATCH_MAX + XENSAVE_BATCH_MAX / 2];
};

/* What follows from the lengths, counts and flags of a head. */
struct xensave_batch_shape {
    uint32_t codec;
    uint32_t frame_pages, frames;
    uint32_t arrays; /* bytes */
    uint32_t stored; /* bytes of contents in the stream */
};

static inline uint64_t *xensave_batch_pfns(struct xensave_batch_head *head)
{
    return head->arrays;
}

static inline uint64_t *xensave_batch_checks(struct xensave_batch_head *head)
{
    return head->arrays + head->aligned.count;
}

typedef uint32_t __attribute__((may_alias)) xensave_frame_end;
static inline xensave_frame_end *xensave_batch_ends(
    struct xensave_batch_head *head, uint32_t frames)
{
    return (xensave_frame_end *)(xensave_batch_checks(head) + frames);
}

static inline size_t xensave_batch_head_length(
    const struct xensave_batch_shape *shape)
{
    return offsetof(struct xensave_batch_head, arrays) + shape->arrays;
}

static inline uint32_t xensave_batch_codec(
    const struct xensave_aligned_page_data *a)
{
    return a->flags & XENSAVE_BATCH_CODEC_MASK;
}

/* The shape of what count, pages and flags say; no length is looked at. */
void xensave_batch_shape(const struct xensave_aligned_page_data *aligned,
                         struct xensave_batch_shape *shape);
/*
 * Lengths, counts and flags agree with one another and with what the header
 * announced; the arrays need not have been read.
 */
bool xensave_batch_fits(const struct xensave_aligned_header *header,
                        const struct xensave_v2_record_header *record,
                        const struct xensave_aligned_page_data *aligned,
                        struct xensave_batch_shape *shape);
/*
 * The same of the arrays; then `contents` and the checksum.  NULL, or what is
 * wrong with them.
 */
const char *xensave_batch_verify(struct xensave_batch_head *head,
                                 const struct xensave_batch_shape *shape,
                                 const uint8_t *file_id, uint64_t number,
                                 struct xensave_pfns *pfns);
/* The ends of frames that hold their pages as they are. */
void xensave_batch_whole_frames(struct xensave_batch_head *head,
                                struct xensave_batch_shape *shape);
/* The checks of frames whose ends are there. */
void xensave_batch_check_frames(struct xensave_batch_head *head,
                                const struct xensave_batch_shape *shape,
                                const uint8_t *stored);
/* Fills in type, length, `contents` and the checksum. */
void xensave_batch_seal(struct xensave_batch_head *head,
                        const struct xensave_batch_shape *shape,
                        const uint8_t *file_id);
/* `offset` of the record in the stream. */
void xensave_batch_entry(const struct xensave_batch_head *head,
                         const struct xensave_batch_shape *shape,
                         const struct xensave_pfns *pfns, uint64_t offset,
                         struct xensave_index_batch *entry);

/* Of the record that such a body begins. */
static inline uint64_t xensave_index_length(
    const struct xensave_aligned_index *index)
{
    return sizeof(*index) +
           index->batches * sizeof(struct xensave_index_batch) +
           index->records * sizeof(struct xensave_index_record);
}

/* ---- frames ------------------------------------------------------------- */

struct xensave_frame {
    uint32_t begin, length; /* of its bytes, in the contents of the batch */
    uint32_t page, pages;   /* among those stored */
    uint64_t check;
};

struct xensave_frame xensave_batch_frame(
    struct xensave_batch_head *head, const struct xensave_batch_shape *shape,
    uint32_t number);
/*
 * Verifies the stored bytes of a frame and makes its pages of them.  Returns
 * an errno value: EBADMSG if they do not match the check, EPROTO if they do
 * not decompress to the pages, ENOMEM.
 */
int xensave_frame_open(struct xensave_unpacker *unpacker, uint32_t codec,
                       const struct xensave_frame *frame,
                       const uint8_t *stored, uint8_t *to);
/* All of a batch; `*failed` is the number of the frame where it ended. */
int xensave_batch_open(struct xensave_unpacker *unpacker,
                       struct xensave_batch_head *head,
                       const struct xensave_batch_shape *shape,
                       const uint8_t *stored, uint8_t *to, uint32_t *failed);
/*
 * Puts the stored pages, which lie in a row at `from`, where they belong in all
 * that have contents, zero pages among them.  `from` may be the end of the room
 * at `to`.
 */
void xensave_batch_spread(const struct xensave_batch_head *head,
                          const uint8_t *from, uint8_t *to);
/* The words for such an errno value. */
const char *xensave_frame_error(int errnum);

#endif /* XENSAVE_BATCH_H */
