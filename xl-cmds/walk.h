/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Walks the records of a save file without reading its pages: what the file
 * says of itself, record by record, whatever its format.  Nothing is decoded
 * and no checksum is tested; that is the decoder's.
 */
#ifndef XL_CMDS_WALK_H
#define XL_CMDS_WALK_H

#include "xensave.h"

enum walk_layer {
    WALK_LIBXC, /* the stream */
    WALK_LIBXL, /* the tail */
};

struct walk_record {
    enum walk_layer layer;
    uint64_t offset; /* in the file, of the type field */
    uint32_t type;
    uint32_t length; /* of the body */
    /* PAGE_DATA and ALIGNED_PAGE_DATA; zero otherwise. */
    uint32_t pfns;
    uint32_t pages;           /* with contents in the file */
    uint32_t zero_pages;      /* elided */
    uint64_t page_offset;     /* in the file, of the first of `pages` */
    uint64_t stored;          /* bytes that `pages` take in the file */
    enum xensave_codec codec; /* whole batches are compressed */
};

/* The bytes of a record: header, body, padding to 8. */
uint64_t walk_record_bytes(const struct walk_record *record);
/* The name that the specification gives the type, or NULL. */
const char *walk_record_name(const struct walk_record *record);

struct walk_result {
    uint64_t stream_end;  /* behind END, 0 if the walk did not get there */
    uint64_t tail_end;    /* behind libxl's END */
    uint64_t tail_offset; /* how far the walk of the tail got */
};

typedef void walk_function(const struct walk_record *record, void *context);

/*
 * -1 and `error` where the records stop making sense; what was walked before
 * that has been handed to `function` all the same.
 */
int walk_savefile(int fd, const struct xensave_file *savefile,
                  walk_function *function, void *context,
                  struct walk_result *result, struct xensave_error *error);

#endif /* XL_CMDS_WALK_H */
