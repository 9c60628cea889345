/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The records of a save file of any format, without its pages: those of the
 * stream, then those of libxl behind it.  What is read leaves the page cache.
 * Lengths, places and counts are checked as the decoder checks them
 * (xensave_record_check, xensave_batch_verify), with the checksums of the heads
 * of batches; other checksums are not.
 */
#ifndef XENSAVE_WALK_H
#define XENSAVE_WALK_H

#include "savefile.h"

enum xensave_layer {
    XENSAVE_LAYER_LIBXC, /* the stream */
    XENSAVE_LAYER_LIBXL, /* the tail */
};

struct xensave_record {
    enum xensave_layer layer;
    uint64_t offset; /* in the file, of the type field */
    uint32_t type;
    uint32_t length; /* of the body */

    /* PAGE_DATA and ALIGNED_PAGE_DATA; zero otherwise. */
    bool irregular; /* not as Xen writes it (spec 3.3): the rest is zero */
    enum xensave_codec codec;
    uint32_t zero_pages; /* elided */
    /*
     * As its entry in an index would be, with offsets in the file.  compat:
     * the checksum is that of the PADDING before; v2: there is none.
     */
    struct xensave_index_batch batch;
};

/* The bytes of a record: header, body, padding to 8. */
static inline uint64_t xensave_record_bytes(const struct xensave_record *r)
{
    return sizeof(struct xensave_v2_record_header) + (uint64_t)r->length +
           record_padding(r->length);
}

/* The name that the specification gives the type, or NULL. */
const char *xensave_layer_record_name(enum xensave_layer layer, uint32_t type);

struct xensave_walk;

/* `fd` and `savefile` (of xensave_file_probe) stay the caller's. */
struct xensave_walk *xensave_walk_new(int fd,
                                      const struct xensave_file *savefile,
                                      struct xensave_error *error);
/*
 * 1: the next record; 0: there is none behind libxl's END; -1: the records
 * stop making sense (errnum ENODATA: the file ends within one).
 */
int xensave_walk_next(struct xensave_walk *walk,
                      struct xensave_record *record);
void xensave_walk_free(struct xensave_walk *walk);

#endif /* XENSAVE_WALK_H */
