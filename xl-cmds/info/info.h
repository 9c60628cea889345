/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What `xl-aligned info` collects, and its two outputs. */
#ifndef XL_CMDS_INFO_H
#define XL_CMDS_INFO_H

#include "xl-cmds/savefile.h"
#include "stream-v3/savefile/walk.h"

/* Of the encoded stream and the tail, by type. */
struct info_type {
    struct xensave_record first;
    uint64_t count;
    uint64_t bytes;
};
#define INFO_TYPES_MAX 64 /* a damaged file may have any number */

struct info {
    const char *name;
    bool readable; /* more than `error` is set */
    struct savefile file;
    struct domain_config config;
    uint64_t length; /* of what the toolstack wrote, if known */

    struct info_type types[INFO_TYPES_MAX];
    size_t type_count;
    uint64_t other_types; /* of records that did not fit above */

    uint64_t records; /* of the stream */
    uint64_t batches;
    uint64_t pfns;
    uint64_t pages;           /* stored */
    uint64_t zero_pages;      /* elided */
    uint64_t aligned_pages;   /* of `pages`, on a multiple of 4096 */
    uint64_t aligned_batches; /* aligned as the header states */
    uint64_t page_batches;    /* with pages in the file */
    uint64_t stored;          /* bytes that `pages` take in the file */
    struct info_codec {       /* what is compressed; by enum xensave_codec */
        uint64_t batches, pages, stored;
    } packed[XENSAVE_CODECS];
    uint64_t stream_end; /* behind END; 0 if the walk did not get there */
    uint64_t tail_end;   /* behind END of libxl */

    /* v3: lines key=value, "" if there are none: spec 3.7. */
    char identity[XENSAVE_IDENTITY_MAX + 1];

    bool checked; /* v3: state, length, head and tail */
    bool whole;
    char check_text[512]; /* if not whole */
    char error[512];      /* "" if every record was walked */

    bool keep_records;
    struct xensave_record *kept;
    size_t kept_count;
};

/* Pages of uncompressed batches, each with its own offset in the file. */
uint64_t info_plain_pages(const struct info *info);
/* Bytes of the stream that are not page contents, in % of those that are. */
bool info_overhead(const struct info *info, double *percent);
/* Expected alignment of page contents: the header's, or 4096. */
uint32_t info_alignment(const struct info *info);
const char *info_state_name(uint32_t state);
/* v3: 32 hexadecimal digits. */
void info_file_id(const struct info *info, char text[33]);
/* The next line of the identity, without its newline; false: no more. */
bool info_identity_line(const char **at, char line[XENSAVE_IDENTITY_MAX + 1]);
/* "PV", "PVH", "HVM", or "?". */
const char *info_guest_type(const struct info *info);

/* Prints one file as text. */
void info_print(const struct info *info);
/* Prints all as one JSON array. */
int info_print_json(const struct info *infos, size_t count);

#endif /* XL_CMDS_INFO_H */
