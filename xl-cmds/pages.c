/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "pages.h"

int pages_open(struct pages *pages, const char *name)
{
    struct xensave_error error = { 0 };

    *pages = (struct pages){ .file.fd = -1 };
    if (savefile_open(&pages->file, name)) {
        report_about(pages->file.name, pages->file.error.text);
        return -1;
    }
    if (xensave_file_check(pages->file.fd, &pages->file.probed, &error)) {
        report_about(pages->file.name, error.text);
        goto failed;
    }
    pages->index = xensave_index_open(pages->file.fd, &pages->file.probed,
                                      &pages->error);
    if (pages->index)
        return 0;
    report_about(pages->file.name, pages->error.text);

failed:
    pages_close(pages);
    return -1;
}

void pages_close(struct pages *pages)
{
    xensave_index_free(pages->index);
    pages->index = NULL;
    savefile_close(&pages->file);
}

int pages_failed(const struct pages *pages, int status)
{
    report_about(pages->file.name, pages->error.text);
    return status;
}

static const char *parse_pfn(const char *text, uint64_t *pfn)
{
    char *end;

    if (!isdigit((unsigned char)*text))
        return NULL;
    errno = 0;
    *pfn = strtoull(text, &end, 0);
    if (errno || *pfn > XENSAVE_V2_PFN_MASK)
        return NULL;
    return end;
}

int pfn_range_parse(const char *text, struct pfn_range *range)
{
    const char *at = parse_pfn(text, &range->first);

    range->last = range->first;
    if (at && *at == '-')
        at = parse_pfn(at + 1, &range->last);
    return at && !*at && range->first <= range->last ? 0 : -1;
}

const char *page_type_name(unsigned type)
{
    static const char *const names[16] = {
        "normal",
        "L1 table",
        "L2 table",
        "L3 table",
        "L4 table",
        "?",
        "?",
        "?",
        "?",
        "L1 table, pinned",
        "L2 table, pinned",
        "L3 table, pinned",
        "L4 table, pinned",
        "broken",
        "allocate only",
        "none",
    };

    return names[type & 15];
}

const char *page_kind_name(unsigned kind)
{
    static const char *const names[] = {
        [XENSAVE_PAGE_ABSENT] = "absent",
        [XENSAVE_PAGE_ZERO] = "zero",
        [XENSAVE_PAGE_STORED] = "stored",
    };

    return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "?";
}
