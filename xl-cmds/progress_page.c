/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdlib.h>

#include "operation/operation.h"
#include "progress_page.h"

struct progress_page *progress_page(int *fd)
{
    char path[FD_PATH];
    struct progress_page *page;

    page = progress_page_create("xl-aligned progress", path, fd);
    if (page && setenv("XL_ALIGNED_PROGRESS", path, 1)) {
        munmap(page, PROGRESS_LENGTH);
        close(*fd);
        *fd = -1;
        page = NULL;
    }
    return page;
}

static uint32_t passes_count(const struct progress_page *page)
{
    uint32_t count = page ? atomic_load(&page->passes) : 0;

    return count < XENSAVE_PASSES ? count : XENSAVE_PASSES;
}

void passes_json(yajl_gen gen, const struct progress_page *page)
{
    uint32_t count = passes_count(page), i;

    if (!count) {
        json_null(gen, "pages_per_pass");
        return;
    }
    json_open_array(gen, "pages_per_pass");
    for (i = 0; i < count; i++)
        yajl_gen_integer(gen, atomic_load(&page->pass_pages[i]));
    yajl_gen_array_close(gen);
}

void passes_print(FILE *file, const struct progress_page *page)
{
    uint32_t count = passes_count(page), i;

    if (!count)
        return;
    fprintf(file, ", %u pass%s of ", count, count == 1 ? "" : "es");
    for (i = 0; i < count; i++)
        fprintf(file, "%s%" PRIu64,
                !i              ? ""
                : i + 1 < count ? ", "
                                : " and ",
                (uint64_t)atomic_load(&page->pass_pages[i]));
    fputs(" pages", file);
}
