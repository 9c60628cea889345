/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is under way on this host, one line for each operation. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/text.h"
#include "entries.h"
#include "json.h"

#define BAR_INTERVAL_NS  500000000
#define LINE_INTERVAL_NS 1000000000

/* ---- a table ------------------------------------------------------------ */

#define CELL 24

static const struct column {
    const char *title;
    bool right;
} columns[] = {
    { "DOMAIN", false }, { "ID", true },   { "OPERATION", false },
    { "PHASE", false },  { "DONE", true }, { "MiB", true },
    { "MiB/s", true },   { "LEFT", true }, { "FORMAT", false },
};
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

struct row {
    char cell[COLUMNS][CELL];
    char *domain, *file; /* of any length */
    const char *way;
};

static const char *or_dash(const char *text)
{
    return text ? text : "-";
}

static void put_cell(char *cell, const char *text)
{
    text_printable(cell, CELL, text, strlen(text));
}

static void fill_row(struct row *row, const struct entry *entry)
{
    struct figures figures;
    double left;
    int percent, i = 1;

    entry_figures(entry, &figures);
    percent = figures_percent(&figures);
    left = figures_left(&figures);
    row->domain = printable(or_dash(entry->domain));
    row->way = entry->file || !entry->peer           ? ""
               : strcmp(entry->operation, "receive") ? "to "
                                                     : "from ";
    row->file = printable(entry->file   ? entry->file
                          : entry->peer ? entry->peer
                                        : "");
    if (entry->has_domid)
        snprintf(row->cell[i++], CELL, "%u", entry->domid);
    else
        snprintf(row->cell[i++], CELL, "-");
    put_cell(row->cell[i++], entry->operation);
    put_cell(row->cell[i++], figures.phase);
    if (percent < 0)
        snprintf(row->cell[i++], CELL, "-");
    else
        snprintf(row->cell[i++], CELL, "%d %%", percent);
    if (entry->total)
        snprintf(row->cell[i++], CELL, "%.0f/%.0f", (double)entry->bytes / MIB,
                 (double)entry->total / MIB);
    else
        snprintf(row->cell[i++], CELL, "%.0f", (double)entry->bytes / MIB);
    snprintf(row->cell[i++], CELL, "%.1f", (double)entry->rate / MIB);
    if (left < 0)
        snprintf(row->cell[i++], CELL, "-");
    else
        snprintf(row->cell[i++], CELL, "%u:%02u", (unsigned)left / 60,
                 (unsigned)left % 60);
    put_cell(row->cell[i++], or_dash(entry->format));
}

static const char *text_of(const struct row *row, size_t column)
{
    return column ? row->cell[column] : row->domain;
}

static void print_row(const struct row *row, const size_t *width)
{
    size_t i;

    for (i = 0; i < COLUMNS; i++)
        printf(columns[i].right ? "%*s  " : "%-*s  ", (int)width[i],
               text_of(row, i));
    printf("%s%s\n", row->way, row->file);
}

static void print_table(const struct entries *entries)
{
    struct row *rows = xrealloc(NULL, (entries->count + 1) * sizeof(*rows));
    size_t width[COLUMNS] = { 0 }, i, row, length;

    memset(rows, 0, (entries->count + 1) * sizeof(*rows));
    rows->domain = printable(columns[0].title);
    rows->way = "";
    rows->file = printable("FILE");
    for (i = 0; i < COLUMNS; i++)
        snprintf(rows->cell[i], CELL, "%s", columns[i].title);
    for (row = 1; row <= entries->count; row++)
        fill_row(&rows[row], &entries->list[row - 1]);
    for (row = 0; row <= entries->count; row++)
        for (i = 0; i < COLUMNS; i++) {
            length = strlen(text_of(&rows[row], i));
            width[i] = length > width[i] ? length : width[i];
        }
    for (row = 0; row <= entries->count; row++) {
        print_row(&rows[row], width);
        free(rows[row].domain);
        free(rows[row].file);
    }
    free(rows);
}

static int show_table(const struct entries *entries, bool again)
{
    if (!entries->count && !again)
        puts("No operation is under way.");
    if (entries->count)
        print_table(entries);
    return 0;
}

/* ---- JSON --------------------------------------------------------------- */

static void put_text(yajl_gen gen, const char *key, const char *text)
{
    if (text)
        json_text(gen, key, text);
    else
        json_null(gen, key);
}

static void put_entry(yajl_gen gen, const struct entry *entry)
{
    struct figures figures;
    double left;

    entry_figures(entry, &figures);
    left = figures_left(&figures);
    yajl_gen_map_open(gen);
    put_text(gen, "domain", entry->domain);
    if (entry->has_domid)
        json_number(gen, "domid", entry->domid);
    else
        json_null(gen, "domid");
    json_text(gen, "operation", entry->operation);
    json_text(gen, "phase", figures.phase);
    json_number(gen, "bytes", entry->bytes);
    json_number(gen, "total", entry->total);
    json_number(gen, "written", entry->written);
    json_number(gen, "rate", entry->rate);
    if (left >= 0)
        json_real(gen, "seconds_left", left);
    else
        json_null(gen, "seconds_left");
    put_text(gen, "format", entry->format);
    put_text(gen, "file", entry->file);
    put_text(gen, "peer", entry->peer);
    json_number(gen, "begun", entry->begun);
    json_number(gen, "pid", entry->owner.pid);
    put_text(gen, "result", entry->result);
    yajl_gen_map_close(gen);
}

static int show_json(const struct entries *entries, bool line)
{
    yajl_gen gen = line ? json_begin_line() : json_begin();
    size_t i;

    if (!gen)
        return -1;
    yajl_gen_array_open(gen);
    for (i = 0; i < entries->count; i++)
        put_entry(gen, &entries->list[i]);
    yajl_gen_array_close(gen);
    if (line)
        putchar('\n');
    return json_end(gen);
}

/* ---- bars --------------------------------------------------------------- */

static bool is_in(const struct entries *entries, const char *name)
{
    size_t i;

    for (i = 0; i < entries->count; i++)
        if (strcmp(entries->list[i].name, name) == 0)
            return true;
    return false;
}

/* Stays on the screen, above the bars. */
static void print_ended(const struct entry *entry)
{
    char title[128];

    entry_title(entry, title, sizeof(title));
    fputs("\033[K", stdout);
    say("%s: %s %s after %" PRIu64 " s", title, entry->operation,
        entry->result ? entry->result : "ended",
        entry->begun ? time(NULL) - entry->begun : 0);
}

static void draw_entry(const struct entry *entry, int width)
{
    char title[160], name[128], phase[32], bar[256];
    struct figures figures;
    int length;

    entry_title(entry, name, sizeof(name));
    length = text_printable(title, sizeof(title) - 2, name, strlen(name));
    title[length++] = ' ';
    length += text_printable(title + length, sizeof(title) - 2 - length,
                             entry->operation, strlen(entry->operation));
    strcpy(title + length, ": ");
    length += 2;
    entry_figures(entry, &figures);
    text_printable(phase, sizeof(phase), figures.phase, strlen(figures.phase));
    figures.phase = phase;
    figures_bar(&figures, width - length - 1, bar, sizeof(bar));
    /* A line that wraps would be two. */
    printf("\033[K%.*s", width - 1, title);
    if (length < width - 1)
        printf("%.*s", width - 1 - length, bar);
    putchar('\n');
}

/* `drawn` lines of the last time are above the cursor. */
static size_t draw(const struct entries *before, const struct entries *now,
                   size_t drawn)
{
    int width = terminal_width(STDOUT_FILENO);
    size_t i;

    if (drawn)
        printf("\033[%zuA", drawn);
    for (i = 0; i < before->count; i++)
        if (!is_in(now, before->list[i].name))
            print_ended(&before->list[i]);
    for (i = 0; i < now->count; i++)
        draw_entry(&now->list[i], width);
    fputs("\033[J", stdout);
    return now->count;
}

static int follow_bars(struct store *store)
{
    const struct timespec interval = { 0, BAR_INTERVAL_NS };
    struct entries before = { 0 }, now;
    size_t drawn = 0;

    do {
        entries_read(store, &now);
        drawn = draw(&before, &now, drawn);
        fflush(stdout);
        entries_free(&before);
        before = now;
        if (now.count)
            nanosleep(&interval, NULL);
    } while (now.count);
    entries_free(&before);
    return 0;
}

/* ---- the command -------------------------------------------------------- */

static int show_once(struct store *store,
                     int (*show)(const struct entries *, bool), bool again,
                     size_t *count)
{
    struct entries entries;
    int r;

    entries_read(store, &entries);
    r = show(&entries, again);
    *count = entries.count;
    entries_free(&entries);
    return r;
}

static int follow_lines(struct store *store,
                        int (*show)(const struct entries *, bool))
{
    const struct timespec interval = { LINE_INTERVAL_NS / 1000000000, 0 };
    size_t count;

    do {
        if (show_once(store, show, true, &count) || fflush(stdout))
            return -1;
        if (count)
            nanosleep(&interval, NULL);
    } while (count);
    return 0;
}

enum { OPTION_FOLLOW = OPTION_LONG, OPTION_JSON };

static int status_run(const struct command *self, int argc, char **argv)
{
    int (*show)(const struct entries *, bool) = show_table;
    bool follow = false, json = false;
    struct store store;
    size_t count;
    int opt, status, r;

    while ((opt = command_option(self, argc, argv, &status)) != -1) {
        if (opt == OPTION_DONE)
            return status;
        follow |= opt == OPTION_FOLLOW;
        json |= opt == OPTION_JSON;
    }
    if (optind != argc)
        return command_misuse(self, "takes no operand");
    if (store_connect(&store) < 0)
        return STATUS_FAILED;
    if (json)
        show = show_json;
    if (!follow)
        r = show_once(&store, show, false, &count);
    else if (!json && isatty(STDOUT_FILENO))
        r = follow_bars(&store);
    else
        r = follow_lines(&store, show);
    store.close(store.handle);
    if (!r && !fflush(stdout) && !ferror(stdout))
        return STATUS_OK;
    report("writing to standard output failed");
    return STATUS_FAILED;
}

/* clang-format off */
const struct command command_status = {
    .name = "status",
    .arguments = "[OPTION...]",
    .summary = "Show the saves, restores, dumps and migrations under way",
    .details =
        "  --follow               again and again until none is left; bars on "
        "a\n"
        "                         terminal, else lines each second\n"
        "  --json                 a JSON array; with --follow one in each "
        "line\n"
        "\n"
        "Exit status: 0, also if there is none; 1 xenstore cannot be "
        "reached.\n\n",
    .short_options = "",
    .long_options = (const struct option[]){
        { "follow", no_argument, NULL, OPTION_FOLLOW },
        { "json", no_argument, NULL, OPTION_JSON },
        HELP_OPTION },
    .run = status_run,
};
/* clang-format on */
