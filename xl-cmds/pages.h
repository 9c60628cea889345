/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the commands that read the pages of a save file. */
#ifndef XL_CMDS_PAGES_H
#define XL_CMDS_PAGES_H

#include "savefile.h"

struct pages {
    struct savefile file;
    struct xensave_index *index;
    struct xensave_error error; /* of the index */
};

/* Opens a save file; -1 after a report.  An incomplete v3 file is refused. */
int pages_open(struct pages *pages, const char *name);
void pages_close(struct pages *pages);
/* Reports the error of the index; returns `status`. */
int pages_failed(const struct pages *pages, int status);

struct pfn_range {
    uint64_t first, last;
};

/* "123", "0x7b", "0x70-0x7f"; -1 if it is none of these. */
int pfn_range_parse(const char *text, struct pfn_range *range);
/* Xen's name of a page type. */
const char *page_type_name(unsigned type);
/* "absent", "zero", "stored". */
const char *page_kind_name(unsigned kind);

#endif /* XL_CMDS_PAGES_H */
