/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "pages.h"

#define WINDOW 65536U /* pfns looked up at once */
#define PIECE  4096U  /* of these, compared at once: 16 MiB a side */
#define A      0
#define B      1

/* As diff(1). */
#define STATUS_DIFFERENT 1
#define STATUS_TROUBLE   2

enum change { NONE, CHANGED, ONLY_A, ONLY_B, CHANGES };

static const struct change_name {
    const char *name;
    const char *word, *count; /* in JSON */
} names[CHANGES] = {
    [CHANGED] = { "changed", "changed", "pages_changed" },
    [ONLY_A] = { "only in A", "only_a", "pages_only_a" },
    [ONLY_B] = { "only in B", "only_b", "pages_only_b" },
};

struct side {
    struct pages pages;
    struct xensave_index_page found[WINDOW];
    uint64_t count; /* pages that the file has */
    unsigned char contents[PIECE][XENSAVE_V2_PAGE_SIZE];
};

struct comparison {
    struct side side[2];
    bool same[WINDOW]; /* by their checksums: neither is read */
    bool contents, summary;
    yajl_gen gen;
    uint64_t count[CHANGES]; /* NONE: the same in both */
    enum change run;         /* of the pfns from `first` to `last` */
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
        json_number(c->gen, "first_pfn", c->first);
        json_number(c->gen, "last_pfn", c->last);
        json_text(c->gen, "change", names[c->run].word);
        yajl_gen_map_close(c->gen);
    } else {
        printf("%-9s  0x%08" PRIx64 "-0x%08" PRIx64 "  %" PRIu64 "\n",
               names[c->run].name, c->first, c->last, c->last - c->first + 1);
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

static bool to_be_read(const struct comparison *c, uint32_t i)
{
    const struct xensave_index_page *a = &c->side[A].found[i];
    const struct xensave_index_page *b = &c->side[B].found[i];

    return !c->same[i] && a->kind != XENSAVE_PAGE_ABSENT &&
           b->kind != XENSAVE_PAGE_ABSENT &&
           (a->kind == XENSAVE_PAGE_STORED || b->kind == XENSAVE_PAGE_STORED);
}

/* A piece of one side. */
struct reading {
    const struct comparison *c;
    struct side *side;
    uint32_t first; /* of the window */
    int r;
};

static void *read_piece(void *context)
{
    struct reading *reading = context;
    struct side *side = reading->side;
    uint32_t i;

    for (i = 0; i < PIECE && !reading->r; i++)
        if (to_be_read(reading->c, reading->first + i))
            reading->r = xensave_index_read(side->pages.index,
                                            &side->found[reading->first + i],
                                            side->contents[i]);
    return NULL;
}

/* Both sides at once, which may be on two disks. */
static int read_pieces(struct comparison *c, uint32_t first)
{
    struct reading a = { .c = c, .side = &c->side[A], .first = first };
    struct reading b = { .c = c, .side = &c->side[B], .first = first };
    pthread_t thread;

    if (pthread_create(&thread, NULL, read_piece, &b)) {
        read_piece(&a);
        read_piece(&b);
    } else {
        read_piece(&a);
        pthread_join(thread, NULL);
    }
    return a.r || b.r ? -1 : 0;
}

static void compare_pfn(struct comparison *c, uint64_t pfn, uint32_t i)
{
    const struct xensave_index_page *a = &c->side[A].found[i];
    const struct xensave_index_page *b = &c->side[B].found[i];

    c->side[A].count += a->kind != XENSAVE_PAGE_ABSENT;
    c->side[B].count += b->kind != XENSAVE_PAGE_ABSENT;
    if (a->kind == XENSAVE_PAGE_ABSENT && b->kind == XENSAVE_PAGE_ABSENT)
        return;
    if (b->kind == XENSAVE_PAGE_ABSENT)
        note(c, pfn, ONLY_A);
    else if (a->kind == XENSAVE_PAGE_ABSENT)
        note(c, pfn, ONLY_B);
    else if (to_be_read(c, i) &&
             memcmp(c->side[A].contents[i % PIECE],
                    c->side[B].contents[i % PIECE], XENSAVE_V2_PAGE_SIZE))
        note(c, pfn, CHANGED);
    else
        note(c, pfn, NONE);
}

static int compare_piece(struct comparison *c, uint64_t pfn, uint32_t first)
{
    uint32_t i = first;

    while (i < first + PIECE && !to_be_read(c, i))
        i++;
    if (i < first + PIECE && read_pieces(c, first))
        return -1;
    for (i = first; i < first + PIECE; i++)
        compare_pfn(c, pfn + i, i);
    return 0;
}

/* Where one of the two goes on. */
static int next_window(struct comparison *c, uint64_t from, uint64_t *first)
{
    uint64_t a, b;

    if (xensave_index_next(c->side[A].pages.index, from, &a) ||
        xensave_index_next(c->side[B].pages.index, from, &b))
        return -1;
    *first = a < b ? a : b;
    return 0;
}

/*
 * Checksums decide, unless contents are asked for: a guest that chooses its
 * memory can make two frames with one check (docs/spec/stream-v3.md, security
 * considerations).
 */
static int look_up(struct comparison *c, uint64_t first)
{
    struct xensave_index *a = c->side[A].pages.index,
                         *b = c->side[B].pages.index;
    bool all = !c->contents && xensave_index_same(a, b, first, WINDOW);
    uint32_t i;
    int r = 0;

    memset(c->same, all, sizeof(c->same));
    if (xensave_index_map(a, first, WINDOW, c->side[A].found))
        return -1;
    if (all) {
        memcpy(c->side[B].found, c->side[A].found, sizeof(c->side[B].found));
        return 0;
    }
    if (xensave_index_map(b, first, WINDOW, c->side[B].found))
        return -1;
    for (i = 0; i < WINDOW && !c->contents && r >= 0; i++) {
        r = xensave_index_same_page(a, &c->side[A].found[i], b,
                                    &c->side[B].found[i]);
        c->same[i] = r > 0;
    }
    return r < 0 ? -1 : 0;
}

static int compare(struct comparison *c)
{
    uint64_t first = 0;
    uint32_t i;

    for (;;) {
        if (next_window(c, first, &first))
            return -1;
        if (first == UINT64_MAX)
            break;
        if (look_up(c, first))
            return -1;
        for (i = 0; i < WINDOW; i += PIECE)
            if (compare_piece(c, first, i))
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
    json_text(c->gen, "file_a", c->side[A].pages.file.name);
    json_text(c->gen, "file_b", c->side[B].pages.file.name);
    if (!c->summary)
        json_open_array(c->gen, "ranges");
}

static void end_json(struct comparison *c)
{
    int i;

    if (!c->summary)
        yajl_gen_array_close(c->gen);
    json_number(c->gen, "pages_a", c->side[A].count);
    json_number(c->gen, "pages_b", c->side[B].count);
    json_number(c->gen, "pages_same", c->count[NONE]);
    for (i = CHANGED; i < CHANGES; i++)
        json_number(c->gen, names[i].count, c->count[i]);
    yajl_gen_map_close(c->gen);
}

static void print_summary(const struct comparison *c)
{
    uint64_t bytes = c->count[CHANGED] * XENSAVE_V2_PAGE_SIZE;

    printf("%" PRIu64 " pages in A, %" PRIu64 " in B: %" PRIu64
           " the same, %" PRIu64 " changed (%.1f MiB), %" PRIu64
           " only in A, %" PRIu64 " only in B\n",
           c->side[A].count, c->side[B].count, c->count[NONE],
           c->count[CHANGED], (double)bytes / (1 << 20), c->count[ONLY_A],
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
        status = c->count[CHANGED] || c->count[ONLY_A] || c->count[ONLY_B]
                     ? STATUS_DIFFERENT
                     : STATUS_OK;
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

enum { OPTION_JSON = OPTION_LONG, OPTION_SUMMARY, OPTION_CONTENTS };

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
        c.contents |= opt == OPTION_CONTENTS;
    }
    if (argc - optind != 2)
        return command_misuse(self, "expected A B");
    for (s = A; s <= B; s++) {
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

/* clang-format off */
const struct command command_diff = {
    .name = "diff",
    .arguments = "[OPTION...] A B",
    .summary = "Show which pages differ between two saves",
    .details =
        "  --summary              only how many pages, no ranges of pfns\n"
        "  --contents             compare all contents, not checksums\n"
        "  --json                 for programs\n"
        "\n"
        "Of two v3 files, only what differs by its checksums is read. A "
        "guest can\n"
        "choose its memory so that different pages have the same checksum.\n"
        "\n"
        "Exit status: 0 the memory is the same, 1 it differs, 2 trouble.\n"
        "\n",
    .short_options = "",
    .long_options = (const struct option[]){
        { "summary", no_argument, NULL, OPTION_SUMMARY },
        { "contents", no_argument, NULL, OPTION_CONTENTS },
        { "json", no_argument, NULL, OPTION_JSON }, HELP_OPTION },
    .run = diff_run,
};
/* clang-format on */
