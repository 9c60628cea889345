/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The operations running on this host, one line each. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/text.h"
#include "operations.h"
#include "json.h"
#include "progress.h"

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

static void fill_row(struct row *row, const struct operation *operation)
{
    struct figures figures;
    double left;
    int percent, i = 1;

    operation_figures(operation, &figures);
    percent = figures_percent(&figures);
    left = figures_left(&figures);
    row->domain = printable(or_dash(operation->domain));
    row->way = operation->file || !operation->peer  ? ""
               : strcmp(operation->kind, "receive") ? "to "
                                                    : "from ";
    row->file = printable(operation->file   ? operation->file
                          : operation->peer ? operation->peer
                                            : "");
    if (operation->has_domid)
        snprintf(row->cell[i++], CELL, "%u", operation->domid);
    else
        snprintf(row->cell[i++], CELL, "-");
    put_cell(row->cell[i++], operation->kind);
    put_cell(row->cell[i++], figures.phase);
    if (percent < 0)
        snprintf(row->cell[i++], CELL, "-");
    else
        snprintf(row->cell[i++], CELL, "%d %%", percent);
    if (operation->total)
        snprintf(row->cell[i++], CELL, "%.0f/%.0f",
                 (double)operation->bytes / MIB,
                 (double)operation->total / MIB);
    else
        snprintf(row->cell[i++], CELL, "%.0f", (double)operation->bytes / MIB);
    snprintf(row->cell[i++], CELL, "%.1f", (double)operation->rate / MIB);
    if (left < 0)
        snprintf(row->cell[i++], CELL, "-");
    else
        snprintf(row->cell[i++], CELL, "%u:%02u", (unsigned)left / 60,
                 (unsigned)left % 60);
    put_cell(row->cell[i++], or_dash(operation->format));
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

static void print_table(const struct operations *operations)
{
    struct row *rows = xrealloc(NULL, (operations->count + 1) * sizeof(*rows));
    size_t width[COLUMNS] = { 0 }, i, row, length;

    memset(rows, 0, (operations->count + 1) * sizeof(*rows));
    rows->domain = printable(columns[0].title);
    rows->way = "";
    rows->file = printable("FILE");
    for (i = 0; i < COLUMNS; i++)
        snprintf(rows->cell[i], CELL, "%s", columns[i].title);
    for (row = 1; row <= operations->count; row++)
        fill_row(&rows[row], &operations->list[row - 1]);
    for (row = 0; row <= operations->count; row++)
        for (i = 0; i < COLUMNS; i++) {
            length = strlen(text_of(&rows[row], i));
            width[i] = length > width[i] ? length : width[i];
        }
    for (row = 0; row <= operations->count; row++) {
        print_row(&rows[row], width);
        free(rows[row].domain);
        free(rows[row].file);
    }
    free(rows);
}

static int show_table(const struct operations *operations, bool again)
{
    if (!operations->count && !again)
        puts("No operation is running.");
    if (operations->count)
        print_table(operations);
    return 0;
}

/* ---- JSON --------------------------------------------------------------- */

static void put_operation(yajl_gen gen, const struct operation *operation)
{
    struct figures figures;

    operation_figures(operation, &figures);
    yajl_gen_map_open(gen);
    json_text(gen, "domain", operation->domain);
    if (operation->has_domid)
        json_number(gen, "domid", operation->domid);
    else
        json_null(gen, "domid");
    json_text(gen, "operation", operation->kind);
    figures_json(gen, &figures, operation->written);
    json_text(gen, "format", operation->format);
    json_text(gen, "file", operation->file);
    json_text(gen, "host", operation->peer);
    json_number(gen, "start_time", operation->begun);
    json_number(gen, "pid", operation->owner.pid);
    json_text(gen, "result", operation->result);
    yajl_gen_map_close(gen);
}

static int show_json(const struct operations *operations, bool line)
{
    yajl_gen gen = line ? json_begin_line() : json_begin();
    size_t i;

    if (!gen)
        return -1;
    yajl_gen_array_open(gen);
    for (i = 0; i < operations->count; i++)
        put_operation(gen, &operations->list[i]);
    yajl_gen_array_close(gen);
    if (line)
        putchar('\n');
    return json_end(gen);
}

/* ---- bars --------------------------------------------------------------- */

static bool is_in(const struct operations *operations, const char *name)
{
    size_t i;

    for (i = 0; i < operations->count; i++)
        if (strcmp(operations->list[i].name, name) == 0)
            return true;
    return false;
}

/* Stays on the screen, above the bars. */
static void print_ended(const struct operation *operation)
{
    char title[128];

    operation_title(operation, title, sizeof(title));
    fputs("\033[K", stdout);
    say("%s: %s %s after %" PRIu64 " s", title, operation->kind,
        operation->result ? operation->result : "ended",
        operation->begun ? time(NULL) - operation->begun : 0);
}

static void draw_entry(const struct operation *operation, int width)
{
    char title[160], name[128], phase[32], bar[256];
    struct figures figures;
    int length;

    operation_title(operation, name, sizeof(name));
    length = text_printable(title, sizeof(title) - 2, name, strlen(name));
    title[length++] = ' ';
    length += text_printable(title + length, sizeof(title) - 2 - length,
                             operation->kind, strlen(operation->kind));
    strcpy(title + length, ": ");
    length += 2;
    operation_figures(operation, &figures);
    text_printable(phase, sizeof(phase), figures.phase, strlen(figures.phase));
    figures.phase = phase;
    figures_bar(&figures, width - length - 1, bar, sizeof(bar));
    /* A wrapped line would take two. */
    printf("\033[K%.*s", width - 1, title);
    if (length < width - 1)
        printf("%.*s", width - 1 - length, bar);
    putchar('\n');
}

/* The cursor is below the `drawn` lines of the last update. */
static size_t draw(const struct operations *before,
                   const struct operations *now, size_t drawn)
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
    struct operations before = { 0 }, now;
    size_t drawn = 0;

    do {
        operations_read(store, &now);
        drawn = draw(&before, &now, drawn);
        fflush(stdout);
        operations_free(&before);
        before = now;
        if (now.count)
            nanosleep(&interval, NULL);
    } while (now.count);
    operations_free(&before);
    return 0;
}

/* ---- the command -------------------------------------------------------- */

static int show_once(struct store *store,
                     int (*show)(const struct operations *, bool), bool again,
                     size_t *count)
{
    struct operations operations;
    int r;

    operations_read(store, &operations);
    r = show(&operations, again);
    *count = operations.count;
    operations_free(&operations);
    return r;
}

static int follow_lines(struct store *store,
                        int (*show)(const struct operations *, bool))
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
    int (*show)(const struct operations *, bool) = show_table;
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
        return command_misuse(self, "expected no operands");
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
    report("writing to stdout failed");
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
