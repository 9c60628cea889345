/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "pages.h"

#define WINDOW  65536U          /* pfns compared at once */
#define A       0
#define B       1

/* As diff(1). */
#define STATUS_DIFFERENT    1
#define STATUS_TROUBLE      2

enum change { NONE, CHANGED, ONLY_A, ONLY_B, CHANGES };

static const struct change_name {
    const char *name;
    const char *key;            /* in JSON */
} names[CHANGES] = {
    [CHANGED] = { "changed", "changed" },
    [ONLY_A] = { "only in A", "only_a" },
    [ONLY_B] = { "only in B", "only_b" },
};

struct side {
    struct pages pages;
    struct v3_index_page found[WINDOW];
    uint64_t contents;          /* pages that the file has */
    uint64_t batch;             /* whose checksum is below */
    uint64_t checksum;
    unsigned char page[V2_PAGE_SIZE];
};

struct comparison {
    struct side side[2];
    bool summary;
    yajl_gen gen;
    uint64_t count[CHANGES];    /* NONE: the same in both */
    enum change run;            /* of the pfns from `first` to `last` */
    uint64_t first, last;
};

/* ---- ranges ------------------------------------------------------------- */

static void end_run(struct comparison *c)
{
    if (c->run == NONE || c->summary) {
        c->run = NONE;
        return;
    }
    if (c->gen) {
        yajl_gen_map_open(c->gen);
        json_number(c->gen, "first", c->first);
        json_number(c->gen, "last", c->last);
        json_text(c->gen, "change", names[c->run].key);
        yajl_gen_map_close(c->gen);
    } else {
        printf("%-9s  0x%08" PRIx64 "-0x%08" PRIx64 "  %" PRIu64 "\n",
               names[c->run].name, c->first, c->last,
               c->last - c->first + 1);
    }
    c->run = NONE;
}

static void note(struct comparison *c, uint64_t pfn, enum change change)
{
    c->count[change]++;
    if (c->run == change && c->run != NONE && c->last + 1 == pfn) {
        c->last = pfn;
        return;
    }
    end_run(c);
    c->run = change;
    c->first = c->last = pfn;
}

/* ---- comparing ---------------------------------------------------------- */

static int batch_checksum(struct side *side, uint64_t batch,
                          uint64_t *checksum)
{
    if (side->batch != batch) {
        if (v3_index_checksum(side->pages.index, batch, &side->checksum))
            return -1;
        side->batch = batch;
    }
    *checksum = side->checksum;
    return 0;
}

/*
 * Batches with the same checksum have the same pfns with the same contents.
 * 1 if that is so, 0 if it cannot be told.
 */
static int same_batch(struct comparison *c, const struct v3_index_page *a,
                      const struct v3_index_page *b)
{
    uint64_t sum_a, sum_b;

    if (c->side[A].pages.file.probed.format !=
        c->side[B].pages.file.probed.format)
        return 0;
    if (batch_checksum(&c->side[A], a->batch, &sum_a) ||
        batch_checksum(&c->side[B], b->batch, &sum_b))
        return -1;
    return sum_a && sum_a == sum_b;
}

/* 1 the same, 0 different, -1 error. */
static int same(struct comparison *c, const struct v3_index_page *a,
                const struct v3_index_page *b)
{
    int r;

    if (a->kind == V3_PAGE_ZERO && b->kind == V3_PAGE_ZERO)
        return 1;
    if (a->kind == b->kind) {
        r = same_batch(c, a, b);
        if (r)
            return r;
    }
    if (v3_index_read(c->side[A].pages.index, a, c->side[A].page) ||
        v3_index_read(c->side[B].pages.index, b, c->side[B].page))
        return -1;
    return memcmp(c->side[A].page, c->side[B].page, V2_PAGE_SIZE) == 0;
}

static int compare_pfn(struct comparison *c, uint64_t pfn, uint32_t i)
{
    const struct v3_index_page *a = &c->side[A].found[i];
    const struct v3_index_page *b = &c->side[B].found[i];
    int r;

    c->side[A].contents += a->kind != V3_PAGE_ABSENT;
    c->side[B].contents += b->kind != V3_PAGE_ABSENT;
    if (a->kind == V3_PAGE_ABSENT && b->kind == V3_PAGE_ABSENT)
        return 0;
    if (b->kind == V3_PAGE_ABSENT) {
        note(c, pfn, ONLY_A);
        return 0;
    }
    if (a->kind == V3_PAGE_ABSENT) {
        note(c, pfn, ONLY_B);
        return 0;
    }
    r = same(c, a, b);
    if (r < 0)
        return -1;
    note(c, pfn, r ? NONE : CHANGED);
    return 0;
}

/* Where one of the two goes on. */
static int next_window(struct comparison *c, uint64_t from, uint64_t *first)
{
    uint64_t a, b;

    if (v3_index_next(c->side[A].pages.index, from, &a) ||
        v3_index_next(c->side[B].pages.index, from, &b))
        return -1;
    *first = a < b ? a : b;
    return 0;
}

static int compare(struct comparison *c)
{
    uint64_t first = 0;
    uint32_t i;
    int s;

    for (;;) {
        if (next_window(c, first, &first))
            return -1;
        if (first == UINT64_MAX)
            break;
        for (s = A; s <= B; s++)
            if (v3_index_map(c->side[s].pages.index, first, WINDOW,
                             c->side[s].found))
                return -1;
        for (i = 0; i < WINDOW; i++)
            if (compare_pfn(c, first + i, i))
                return -1;
        first += WINDOW;
    }
    end_run(c);
    return 0;
}

/* ---- saying it ---------------------------------------------------------- */

static void begin_json(struct comparison *c)
{
    yajl_gen_map_open(c->gen);
    json_text(c->gen, "a", c->side[A].pages.file.name);
    json_text(c->gen, "b", c->side[B].pages.file.name);
    if (!c->summary)
        json_open_array(c->gen, "ranges");
}

static void end_json(struct comparison *c)
{
    int i;

    if (!c->summary)
        yajl_gen_array_close(c->gen);
    json_number(c->gen, "pages_a", c->side[A].contents);
    json_number(c->gen, "pages_b", c->side[B].contents);
    json_number(c->gen, "same", c->count[NONE]);
    for (i = CHANGED; i < CHANGES; i++)
        json_number(c->gen, names[i].key, c->count[i]);
    yajl_gen_map_close(c->gen);
}

static void print_summary(const struct comparison *c)
{
    uint64_t octets = c->count[CHANGED] * V2_PAGE_SIZE;

    printf("%" PRIu64 " pages in A, %" PRIu64 " in B: %" PRIu64
           " the same, %" PRIu64 " changed (%.1f MiB), %" PRIu64
           " only in A, %" PRIu64 " only in B\n",
           c->side[A].contents, c->side[B].contents, c->count[NONE],
           c->count[CHANGED], (double)octets / (1 << 20), c->count[ONLY_A],
           c->count[ONLY_B]);
}

static int run(struct comparison *c, bool json)
{
    int status = STATUS_TROUBLE, s;

    if (json) {
        c->gen = json_begin();
        if (!c->gen) {
            report("out of memory");
            return status;
        }
        begin_json(c);
    }
    if (compare(c)) {
        for (s = A; s <= B; s++)
            if (c->side[s].pages.error.text[0])
                pages_failed(&c->side[s].pages, status);
    } else {
        status = c->count[CHANGED] || c->count[ONLY_A] || c->count[ONLY_B] ?
                 STATUS_DIFFERENT : STATUS_OK;
        if (json)
            end_json(c);
        else
            print_summary(c);
    }
    if (json)
        json_end(c->gen);
    if (fflush(stdout) || ferror(stdout)) {
        report("writing to stdout: %s", strerror(errno));
        status = STATUS_TROUBLE;
    }
    return status;
}

enum { OPTION_JSON = OPTION_LONG, OPTION_SUMMARY };

static int diff_run(const struct command *self, int argc, char **argv)
{
    static struct comparison c;
    bool json = false;
    int opt, s, status;

    while ((opt = command_option(self, argc, argv, &status)) != -1) {
        if (opt == OPTION_DONE)
            return status;
        json |= opt == OPTION_JSON;
        c.summary |= opt == OPTION_SUMMARY;
    }
    if (argc - optind != 2)
        return command_misuse(self, "needs two files");
    for (s = A; s <= B; s++) {
        c.side[s].batch = UINT64_MAX;
        if (pages_open(&c.side[s].pages, argv[optind + s])) {
            if (s == B)
                pages_close(&c.side[A].pages);
            return STATUS_TROUBLE;
        }
    }
    status = run(&c, json);
    for (s = A; s <= B; s++)
        pages_close(&c.side[s].pages);
    return status;
}

const struct command command_diff = {
    .name = "diff",
    .arguments = "[OPTION...] A B",
    .summary = "Tell which pages differ between two saves",
    .details =
        "  --summary              only how many pages, no ranges of pfns\n"
        "  --json                 for programs\n"
        "\n"
        "Batches with the same checksum are not read; verify does that.\n"
        "\n"
        "Exit status: 0 the memory is the same, 1 it differs, 2 trouble.\n"
        "\n",
    .short_options = "",
    .long_options = (const struct option[]){
        { "summary", no_argument, NULL, OPTION_SUMMARY },
        { "json", no_argument, NULL, OPTION_JSON }, HELP_OPTION },
    .run = diff_run,
};
