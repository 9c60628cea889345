/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Spec 3: which record may stand where, for the reader of the stream and for
 * that of the index.
 */
#ifndef XENSAVE_PLACE_H
#define XENSAVE_PLACE_H

#include "stream-v3/internal.h"

enum xensave_kind {
    XENSAVE_KIND_REFUSED,
    XENSAVE_KIND_OURS,    /* of the table of section 3, and in its place */
    XENSAVE_KIND_SKIPPED, /* ours, optional, and not known */
    XENSAVE_KIND_V2,      /* part of the v2 stream */
};

struct xensave_places {
    enum xensave_format format;
    uint64_t records; /* judged so far */
    bool padding;     /* compat: the next one is the PAGE_DATA of a BATCH */
    bool index, check;
    char why[128]; /* REFUSED: a clause */
};

/*
 * Judges the next record behind the domain header.  The first one tells the
 * format.  Whether a PADDING is a START or a BATCH is the caller's to see.
 */
enum xensave_kind xensave_place(struct xensave_places *places,
                                const struct xensave_v2_record_header *record);

#endif /* XENSAVE_PLACE_H */
