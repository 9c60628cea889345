/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "pages.h"
#include "tail.h"
#include "target.h"

#define LINE 16U
#define STEP 1024U /* pages looked up at once */

struct output;

/* What becomes of each page. */
struct output_ops {
    int (*page)(struct output *output, uint64_t pfn,
                const struct xensave_index_page *page);
};

struct output {
    const struct output_ops *ops;
    struct pages *pages;
    yajl_gen gen;
    int fd; /* --output */
    const char *name;
    bool force;      /* it may replace a file */
    uint64_t absent; /* pfns without contents */
    uint64_t first_absent;
    unsigned char contents[XENSAVE_V2_PAGE_SIZE];
};

/* ---- for people --------------------------------------------------------- */

static void dump_line(unsigned offset, const unsigned char *bytes)
{
    unsigned i;

    printf("  %03x ", offset);
    for (i = 0; i < LINE; i++)
        printf("%s%02x", i == LINE / 2 ? "  " : " ", bytes[i]);
    printf("  |");
    for (i = 0; i < LINE; i++)
        putchar(bytes[i] < 0x80 && isprint(bytes[i]) ? bytes[i] : '.');
    printf("|\n");
}

/* As hexdump does, with one * for lines that repeat. */
static void dump(const unsigned char *contents)
{
    bool repeats = false;
    unsigned at;

    for (at = 0; at < XENSAVE_V2_PAGE_SIZE; at += LINE) {
        bool same = at &&
                    memcmp(contents + at, contents + at - LINE, LINE) == 0;

        if (!same)
            dump_line(at, contents + at);
        else if (!repeats)
            puts("  *");
        repeats = same;
    }
}

static int print_page(struct output *output, uint64_t pfn,
                      const struct xensave_index_page *page)
{
    if (page->kind == XENSAVE_PAGE_ABSENT) {
        printf("pfn 0x%" PRIx64 ": no contents\n", pfn);
        return 0;
    }
    if (xensave_index_read(output->pages->index, page, output->contents))
        return -1;
    printf("pfn 0x%" PRIx64 ": %s", pfn, page_type_name(page->type));
    if (page->kind == XENSAVE_PAGE_STORED && page->offset == UINT64_MAX)
        printf(", page %" PRIu16 " of a compressed batch\n", page->place);
    else if (page->kind == XENSAVE_PAGE_STORED)
        printf(", at offset %" PRIu64 " of the file\n", page->offset);
    else
        printf(", all zero, not stored\n");
    dump(output->contents);
    return 0;
}

static const struct output_ops print_ops = { print_page };

/* ---- for programs ------------------------------------------------------- */

static int put_page(struct output *output, uint64_t pfn,
                    const struct xensave_index_page *page)
{
    yajl_gen_map_open(output->gen);
    json_number(output->gen, "pfn", pfn);
    json_text(output->gen, "kind", page_kind_name(page->kind));
    if (page->kind != XENSAVE_PAGE_ABSENT) {
        json_text(output->gen, "page_type", page_type_name(page->type));
        json_number(output->gen, "batch", page->batch);
    }
    if (page->kind == XENSAVE_PAGE_STORED && page->offset == UINT64_MAX)
        json_null(output->gen, "offset");
    else if (page->kind == XENSAVE_PAGE_STORED)
        json_number(output->gen, "offset", page->offset);
    yajl_gen_map_close(output->gen);
    return 0;
}

static const struct output_ops json_ops = { put_page };

/* ---- into a file -------------------------------------------------------- */

static int count_page(struct output *output, uint64_t pfn,
                      const struct xensave_index_page *page)
{
    (void)output;
    (void)pfn;
    (void)page;
    return 0;
}

static const struct output_ops count_ops = { count_page };

static int extract_page(struct output *output, uint64_t pfn,
                        const struct xensave_index_page *page)
{
    (void)pfn;
    if (xensave_index_read(output->pages->index, page, output->contents))
        return -1;
    if (!write_all(output->fd, output->contents, XENSAVE_V2_PAGE_SIZE))
        return 0;
    snprintf(output->pages->error.text, sizeof(output->pages->error.text),
             "writing to %s: %s", output->name, strerror(errno));
    return -1;
}

static const struct output_ops extract_ops = { extract_page };

/* ---- the command -------------------------------------------------------- */

static int each_page(struct output *output, struct pfn_range *ranges,
                     int count)
{
    static struct xensave_index_page found[STEP];
    uint64_t pfn, left;
    uint32_t n, i;
    int r;

    output->absent = 0;
    for (r = 0; r < count; r++) {
        pfn = ranges[r].first;
        left = ranges[r].last - pfn + 1;
        for (; left; left -= n) {
            n = left < STEP ? left : STEP;
            if (xensave_index_map(output->pages->index, pfn, n, found))
                return -1;
            for (i = 0; i < n; i++, pfn++) {
                if (found[i].kind == XENSAVE_PAGE_ABSENT && !output->absent++)
                    output->first_absent = pfn;
                if (output->ops->page(output, pfn, &found[i]))
                    return -1;
            }
        }
    }
    return 0;
}

static int absent(const struct output *output)
{
    report("%s holds no contents of pfn 0x%" PRIx64 "%s",
           output->pages->file.name, output->first_absent,
           output->absent > 1 ? " and others" : "");
    return STATUS_FAILED;
}

static int write_pages(struct output *output, struct pfn_range *ranges,
                       int count)
{
    output->ops = &extract_ops;
    if (each_page(output, ranges, count))
        return pages_failed(output->pages, STATUS_FAILED);
    if (!xensave_fd_sync(output->fd))
        return STATUS_OK;
    report("%s: bringing it to stable storage: %s", output->name,
           strerror(errno));
    return STATUS_FAILED;
}

/* The pages are the guest's memory: only the caller may read the file. */
static int write_file(struct output *output, struct pfn_range *ranges,
                      int count)
{
    const struct partial_kind kind = { .force = output->force };
    struct target target = TARGET_INIT;
    int status;

    if (target_names(output->name, output->pages->file.fd)) {
        report("%s: is the save file itself; name another output",
               output->name);
        return STATUS_FAILED;
    }
    status = target_open(&target, output->name, &kind);
    if (status != STATUS_OK)
        return status;
    partial_signals_begin(&target.file);
    output->fd = open(target.path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (output->fd < 0) {
        report("%s: %s", output->name, strerror(errno));
        status = STATUS_FAILED;
    } else {
        status = write_pages(output, ranges, count);
        if (close(output->fd) && status == STATUS_OK) {
            report("%s: %s", output->name, strerror(errno));
            status = STATUS_FAILED;
        }
    }
    if (status == STATUS_OK && target.final)
        status = target_commit(&target);
    if (status != STATUS_OK)
        target_abandon(&target);
    partial_signals_end(&target.file);
    target_close(&target);
    return status;
}

static int extract(struct output *output, struct pfn_range *ranges, int count)
{
    /* All of them or nothing: pages in the output have no names. */
    output->ops = &count_ops;
    if (each_page(output, ranges, count))
        return pages_failed(output->pages, STATUS_FAILED);
    if (output->absent)
        return absent(output);
    output->fd = STDOUT_FILENO;
    return is_standard(output->name) ? write_pages(output, ranges, count)
                                     : write_file(output, ranges, count);
}

static int show(struct output *output, struct pfn_range *ranges, int count,
                bool json)
{
    int status = STATUS_OK;

    output->ops = json ? &json_ops : &print_ops;
    if (json) {
        output->gen = json_begin();
        if (!output->gen) {
            report("out of memory");
            return STATUS_FAILED;
        }
        yajl_gen_array_open(output->gen);
    }
    if (each_page(output, ranges, count))
        status = pages_failed(output->pages, STATUS_FAILED);
    else if (output->absent)
        status = absent(output);
    if (json) {
        yajl_gen_array_close(output->gen);
        json_end(output->gen);
    }
    if (fflush(stdout) || ferror(stdout)) {
        report("writing to stdout: %s", strerror(errno));
        status = STATUS_FAILED;
    }
    return status;
}

enum { OPTION_JSON = OPTION_LONG };

static int page_run(const struct command *self, int argc, char **argv)
{
    struct output output = { .fd = -1 };
    struct pages pages;
    bool json = false;
    int opt, i, count, status;

    while ((opt = command_option(self, argc, argv, &status)) != -1) {
        if (opt == OPTION_DONE)
            return status;
        json |= opt == OPTION_JSON;
        output.force |= opt == OPTION_FORCE;
        if (opt == 'o')
            output.name = optarg;
    }
    count = argc - optind - 1;
    if (count < 1)
        return command_misuse(self, "expected FILE PFN[-PFN]...");
    if (json && output.name)
        return command_misuse(self, "--json and --output cannot be combined");

    struct pfn_range ranges[count];

    for (i = 0; i < count; i++)
        if (pfn_range_parse(argv[optind + 1 + i], &ranges[i]))
            return command_misuse(self,
                                  "%s is not a pfn, and not a range "
                                  "of them",
                                  argv[optind + 1 + i]);
    if (pages_open(&pages, argv[optind]))
        return STATUS_FAILED;
    output.pages = &pages;
    status = output.name ? extract(&output, ranges, count)
                         : show(&output, ranges, count, json);
    pages_close(&pages);
    return status;
}

/* clang-format off */
const struct command command_page = {
    .name = "page",
    .arguments = "[OPTION...] FILE PFN[-PFN]...",
    .summary = "Print pages of a saved domain, or extract them",
    .details =
        "  -o, --output=OUT       write the pages to OUT, one behind the "
        "other; - is\n"
        "                         stdout\n"
        "  --force                replace OUT if it exists\n"
        "  --json                 for programs: where each page lies, without "
        "its\n"
        "                         contents\n"
        "\n"
        "Exit status: 0 all were there, 1 one has no contents or cannot be "
        "read.\n"
        "\n",
    .short_options = "o:",
    .long_options = (const struct option[]){
        { "output", required_argument, NULL, 'o' },
        FORCE_OPTION,
        { "json", no_argument, NULL, OPTION_JSON }, HELP_OPTION },
    .run = page_run,
};
/* clang-format on */
