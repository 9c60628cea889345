/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "operation/xenstore.h"
#include "progress.h"

/* xl's own progress messages would break up the bar. */
#define XL_PROGRESS "xc: progress: "

struct handoff *progress_page(int *fd)
{
    char path[FD_PATH];
    struct handoff *page;

    page = handoff_create("xl-aligned progress", path, fd);
    if (page && setenv("XL_ALIGNED_PROGRESS", path, 1)) {
        munmap(page, HANDOFF_SIZE);
        close(*fd);
        *fd = -1;
        page = NULL;
    }
    return page;
}

static uint32_t passes_count(const struct handoff *page)
{
    uint32_t count = page ? atomic_load(&page->passes) : 0;

    return count < XENSAVE_PASSES ? count : XENSAVE_PASSES;
}

void figures_json(yajl_gen gen, const struct figures *figures,
                  uint64_t written)
{
    json_text(gen, "phase", figures->phase);
    json_number(gen, "bytes_done", figures->done);
    json_number(gen, "bytes_total", figures->total);
    json_number(gen, "bytes_written", written);
    json_number(gen, "bytes_per_second", figures->rate);
    json_real(gen, "remaining_seconds", figures_left(figures));
}

void passes_json(yajl_gen gen, const struct handoff *page)
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

void passes_print(FILE *file, const struct handoff *page)
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

struct progress_ops {
    const char *name;
    double interval;   /* seconds */
    bool takes_stderr; /* xl's stderr is a pipe to here */
    void (*show)(struct progress *progress);
    void (*stop)(struct progress *progress); /* the terminal is free again */
    void (*end)(struct progress *progress, bool whole);
};

struct progress {
    const struct progress_ops *ops;
    struct handoff *page;
    int page_fd;
    int xl_stderr;   /* read end, -1: xl has stderr itself */
    char line[4096]; /* unfinished line of xl's */
    size_t line_length;
    double begun, shown;
    const struct xl *xl;
    struct rate rate;
    /* The values shown. */
    struct figures figures;
    uint64_t written;
};

/* ---- figures ------------------------------------------------------------ */

static void sample(struct progress *p)
{
    uint32_t phase = atomic_load(&p->page->phase);

    p->figures.phase = phase_name(phase);
    p->figures.moving = phase == PROGRESS_MEMORY;
    p->figures.total = atomic_load(&p->page->total);
    p->figures.done = atomic_load(&p->page->done);
    p->figures.rate = rate_sample(&p->rate, p->figures.done);
    p->written = atomic_load(&p->page->written);
}

/* ---- a bar -------------------------------------------------------------- */

static void clear_bar(void)
{
    fputs("\r\033[K", stderr);
}

static void draw_bar(struct progress *p)
{
    char text[256];

    figures_bar(&p->figures, terminal_width(STDERR_FILENO), text,
                sizeof(text));
    clear_bar();
    fputs(text, stderr);
    fflush(stderr);
}

static void pass_line(const struct progress *p)
{
    if (strncmp(p->line, XL_PROGRESS, strlen(XL_PROGRESS)) == 0)
        return;
    clear_bar();
    fprintf(stderr, "%s\n", p->line);
}

/* Prints xl's messages line by line above the bar. */
static void pass_stderr(struct progress *p)
{
    char text[4096], *at;
    ssize_t r;

    if (p->xl_stderr < 0)
        return;
    while ((r = read(p->xl_stderr, text, sizeof(text))) > 0)
        for (at = text; at < text + r; at++) {
            if (*at != '\n' && p->line_length < sizeof(p->line) - 1) {
                p->line[p->line_length++] = *at;
                continue;
            }
            p->line[p->line_length] = 0;
            pass_line(p);
            p->line_length = 0;
        }
}

static void stop_bar(struct progress *p)
{
    if (p->line_length) {
        p->line[p->line_length] = 0;
        pass_line(p);
    }
    clear_bar();
    fflush(stderr);
}

/* ---- lines -------------------------------------------------------------- */

static void print_line(struct progress *p)
{
    char text[128];

    figures_text(&p->figures, text, sizeof(text));
    report("%s: %s", p->figures.phase, text + strspn(text, " "));
}

static void end_line(struct progress *p, bool whole)
{
    const struct xl_kind *kind = p->xl->kind;
    const char *domain = p->xl->domain, *file = p->xl->file;
    char text[256];

    if (!whole)
        return;
    figures_ended(p->figures.done, p->written, monotonic_seconds() - p->begun,
                  text, sizeof(text));
    if (domain)
        report("%s%s %s %s %s: %s",
               domain[strspn(domain, "0123456789")] ? "" : "domain ", domain,
               kind->done, kind->where, file, text);
    else
        report("%s %s: %s", file, kind->done, text);
}

/* ---- JSON --------------------------------------------------------------- */

static void print_json(const struct progress *p, const char *result)
{
    yajl_gen gen = json_begin_line();

    if (!gen)
        return;
    yajl_gen_map_open(gen);
    figures_json(gen, &p->figures, p->written);
    json_text(gen, "result", result);
    yajl_gen_map_close(gen);
    putchar('\n');
    json_end(gen);
}

static void show_json(struct progress *p)
{
    print_json(p, NULL);
}

static void end_json(struct progress *p, bool whole)
{
    p->figures.phase = "ended";
    p->figures.moving = false;
    print_json(p, whole ? "complete" : "failed");
}

static const struct progress_ops modes[] = {
    { "bar", 0.2, true, draw_bar, stop_bar, end_line },
    { "plain", 5, false, print_line, NULL, end_line },
    { "json", 1, false, show_json, NULL, end_json },
};
#define MODES (sizeof(modes) / sizeof(modes[0]))

/* ---- the life of it ----------------------------------------------------- */

static const struct progress_ops *find_mode(const char *name)
{
    size_t i;

    for (i = 0; i < MODES; i++)
        if (strcmp(modes[i].name, name) == 0)
            return &modes[i];
    return NULL;
}

const char *progress_option(const struct command *self, const char *mode)
{
    if (strcmp(mode, "none") == 0 || find_mode(mode))
        return mode;
    command_misuse(self,
                   "--progress=%s: the value must be one of bar plain "
                   "json none",
                   mode);
    return NULL;
}

static const struct progress_ops *wanted_mode(const char *mode)
{
    if (!mode)
        mode = isatty(STDERR_FILENO) ? "bar" : "none";
    return find_mode(mode);
}

bool progress_wanted(const char *mode)
{
    return wanted_mode(mode);
}

static void tick(void *context)
{
    struct progress *p = context;
    double time = monotonic_seconds();

    pass_stderr(p);
    sample(p);
    if (time - p->shown < p->ops->interval)
        return;
    p->shown = time;
    p->ops->show(p);
}

/* -1: xl writes to stderr directly. */
static void take_stderr(struct progress *p, struct xl *xl)
{
    int fds[2];

    p->xl_stderr = -1;
    if (!p->ops->takes_stderr || pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return;
    /* xl blocks until there is room. */
    if (fcntl(fds[1], F_SETFL, 0) < 0) {
        close(fds[0]);
        close(fds[1]);
        return;
    }
    p->xl_stderr = fds[0];
    xl->fds[STDERR_FILENO] = fds[1];
}

struct progress *progress_begin(const char *mode, struct xl *xl)
{
    struct progress *p;

    unsetenv("XL_ALIGNED_PROGRESS");
    if (!wanted_mode(mode))
        return NULL;
    p = xrealloc(NULL, sizeof(*p));
    memset(p, 0, sizeof(*p));
    p->ops = wanted_mode(mode);
    p->page = progress_page(&p->page_fd);
    if (!p->page) {
        report("cannot show progress: %s", strerror(errno));
        free(p);
        return NULL;
    }
    p->xl = xl;
    p->begun = p->shown = monotonic_seconds();
    rate_begin(&p->rate);
    take_stderr(p, xl);
    /* Only objects go to stdout. */
    if (p->ops == find_mode("json"))
        xl->fds[STDOUT_FILENO] = STDERR_FILENO;
    xl->tick = tick;
    xl->tick_context = p;
    return p;
}

void progress_stop(struct progress *p)
{
    if (!p)
        return;
    pass_stderr(p);
    sample(p);
    if (p->ops->stop)
        p->ops->stop(p);
}

void progress_end(struct progress *p, bool whole)
{
    if (!p)
        return;
    p->ops->end(p, whole);
    if (p->xl_stderr >= 0)
        close(p->xl_stderr);
    munmap(p->page, HANDOFF_SIZE);
    close(p->page_fd);
    free(p);
}
