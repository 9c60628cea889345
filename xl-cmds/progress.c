/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "progress.h"
#include "progress-page.h"

#define MIB             (1024.0 * 1024)
#define BAR_MAX         40
/* How much older rates count after a second. */
#define OLDER           0.7
/* xl shows a progress of its own, which would tear the bar. */
#define XL_PROGRESS     "xc: progress: "

struct progress_ops {
    const char *name;
    double interval;            /* seconds */
    bool takes_stderr;          /* what xl prints goes through here */
    void (*show)(struct progress *progress);
    void (*end)(struct progress *progress, bool whole);
};

struct progress {
    const struct progress_ops *ops;
    struct v3_progress *page;
    int page_fd;
    int xl_stderr;              /* read end, -1: xl has stderr itself */
    char line[4096];            /* of xl's, that has not ended */
    size_t line_length;
    double begun, shown, sampled;
    uint64_t sampled_done;
    double rate;                /* octets of memory a second */
    /* What is shown. */
    uint32_t phase;
    uint64_t total, done, written;
};

static const char *const phases[] = {
    [V3_PROGRESS_START] = "start",
    [V3_PROGRESS_MEMORY] = "memory",
    [V3_PROGRESS_COMMIT] = "commit",
};

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

/* ---- figures ------------------------------------------------------------ */

static const char *phase_name(const struct progress *p)
{
    return p->phase < sizeof(phases) / sizeof(phases[0]) ? phases[p->phase]
                                                         : "?";
}

static void sample(struct progress *p)
{
    double time = now(), seconds = time - p->sampled, fresh;

    p->phase = atomic_load(&p->page->phase);
    p->total = atomic_load(&p->page->total);
    p->done = atomic_load(&p->page->done);
    p->written = atomic_load(&p->page->written);
    if (seconds < 0.2)
        return;
    fresh = (double)(p->done - p->sampled_done) / seconds;
    p->rate = p->sampled_done ? OLDER * p->rate + (1 - OLDER) * fresh : fresh;
    p->sampled = time;
    p->sampled_done = p->done;
}

/* 100 is for a save that is over. */
static unsigned percent(const struct progress *p)
{
    uint64_t percent = p->total ? p->done * 100 / p->total : 0;

    return percent > 99 ? 99 : percent;
}

/* Seconds; -1: cannot be told. */
static double left(const struct progress *p)
{
    if (!p->total || p->rate < 1 || p->phase != V3_PROGRESS_MEMORY)
        return -1;
    return p->done < p->total ? (double)(p->total - p->done) / p->rate : 0;
}

static void figures(const struct progress *p, char *text, size_t size)
{
    double seconds = left(p);
    int n;

    n = snprintf(text, size, "%3u %%  %.0f of %.0f MiB  %.0f MiB/s",
                 percent(p), (double)p->done / MIB, (double)p->total / MIB,
                 p->rate / MIB);
    if (seconds >= 0 && n > 0 && (size_t)n < size)
        snprintf(text + n, size - n, "  %u:%02u left",
                 (unsigned)seconds / 60, (unsigned)seconds % 60);
}

/* ---- a bar --------------------------------------------------------------- */

static void clear_bar(void)
{
    fputs("\r\033[K", stderr);
}

static void draw_bar(struct progress *p)
{
    char text[128], bar[BAR_MAX + 1];
    struct winsize window = { .ws_col = 80 };
    int width, filled;

    figures(p, text, sizeof(text));
    ioctl(STDERR_FILENO, TIOCGWINSZ, &window);
    width = (window.ws_col ? window.ws_col : 80) - (int)strlen(text) - 14;
    width = width > BAR_MAX ? BAR_MAX : width;
    clear_bar();
    if (width < 4) {
        fprintf(stderr, "%s %u %%", phase_name(p), percent(p));
    } else {
        filled = (int)(percent(p) * (unsigned)width / 100);
        memset(bar, '.', width);
        memset(bar, '#', filled);
        bar[width] = 0;
        fprintf(stderr, "%-6s [%s] %s", phase_name(p), bar, text);
    }
    fflush(stderr);
}

static void pass_line(const struct progress *p)
{
    if (strncmp(p->line, XL_PROGRESS, strlen(XL_PROGRESS)) == 0)
        return;
    clear_bar();
    fprintf(stderr, "%s\n", p->line);
}

/* What xl has printed, line by line, above the bar. */
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

static void end_bar(struct progress *p, bool whole)
{
    (void)whole;
    if (p->line_length) {
        p->line[p->line_length] = 0;
        pass_line(p);
    }
    clear_bar();
    fflush(stderr);
}

/* ---- lines --------------------------------------------------------------- */

static void print_line(struct progress *p)
{
    char text[128];

    figures(p, text, sizeof(text));
    report("%s: %s", phase_name(p), text + strspn(text, " "));
}

static void end_line(struct progress *p, bool whole)
{
    double seconds = now() - p->begun;

    if (whole)
        report("saved: %.0f MiB of memory, %.0f MiB of file, in %.1f s",
               (double)p->done / MIB, (double)p->written / MIB, seconds);
}

static void print_json(const struct progress *p, const char *phase)
{
    double seconds = left(p);

    printf("{\"phase\": \"%s\", \"done\": %" PRIu64 ", \"total\": %" PRIu64
           ", \"written\": %" PRIu64 ", \"rate\": %.0f", phase, p->done,
           p->total, p->written, p->rate);
    if (seconds >= 0)
        printf(", \"seconds_left\": %.1f", seconds);
    printf("}\n");
    fflush(stdout);
}

static void show_json(struct progress *p)
{
    print_json(p, phase_name(p));
}

static void end_json(struct progress *p, bool whole)
{
    print_json(p, whole ? "saved" : "failed");
}

static const struct progress_ops modes[] = {
    { "bar", 0.2, true, draw_bar, end_bar },
    { "plain", 5, false, print_line, end_line },
    { "json", 1, false, show_json, end_json },
};
#define MODES (sizeof(modes) / sizeof(modes[0]))

/* ---- the life of it ------------------------------------------------------ */

static const struct progress_ops *find_mode(const char *name)
{
    size_t i;

    for (i = 0; i < MODES; i++)
        if (strcmp(modes[i].name, name) == 0)
            return &modes[i];
    return NULL;
}

bool progress_mode_known(const char *mode)
{
    return strcmp(mode, "none") == 0 || find_mode(mode);
}

static void tick(void *context)
{
    struct progress *p = context;
    double time = now();

    pass_stderr(p);
    sample(p);
    if (time - p->shown < p->ops->interval)
        return;
    p->shown = time;
    p->ops->show(p);
}

/* -1: xl writes to stderr as it always does. */
static void take_stderr(struct progress *p, struct guard *guard)
{
    int fds[2];

    p->xl_stderr = -1;
    if (!p->ops->takes_stderr || pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return;
    /* xl itself is to wait until there is room. */
    if (fcntl(fds[1], F_SETFL, 0) < 0) {
        close(fds[0]);
        close(fds[1]);
        return;
    }
    p->xl_stderr = fds[0];
    guard->stderr_fd = fds[1];
}

struct progress *progress_begin(const char *mode, struct guard *guard)
{
    struct progress *p;

    unsetenv("XL_ALIGNED_PROGRESS");
    if (!mode)
        mode = isatty(STDERR_FILENO) ? "bar" : "none";
    if (!find_mode(mode))
        return NULL;
    p = xrealloc(NULL, sizeof(*p));
    memset(p, 0, sizeof(*p));
    p->ops = find_mode(mode);
    p->page = progress_page(&p->page_fd);
    if (!p->page) {
        report("no progress can be shown: %s", strerror(errno));
        free(p);
        return NULL;
    }
    p->begun = p->shown = p->sampled = now();
    take_stderr(p, guard);
    guard->tick = tick;
    guard->tick_context = p;
    return p;
}

void progress_end(struct progress *p, bool whole)
{
    if (!p)
        return;
    pass_stderr(p);
    sample(p);
    p->ops->end(p, whole);
    if (p->xl_stderr >= 0)
        close(p->xl_stderr);
    munmap(p->page, V3_PROGRESS_LENGTH);
    close(p->page_fd);
    free(p);
}
