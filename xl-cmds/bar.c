/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "progress.h"

#define BAR_MAX   40
#define BAR_LEAST 4

int figures_percent(const struct figures *figures)
{
    double percent;

    if (!figures->total)
        return -1;
    percent = (double)figures->done * 100 / (double)figures->total;
    return percent > 99 ? 99 : (int)percent;
}

double figures_left(const struct figures *figures)
{
    if (!figures->total || figures->rate < 1 || !figures->moving)
        return -1;
    return figures->done < figures->total
               ? (double)(figures->total - figures->done) / figures->rate
               : 0;
}

void figures_text(const struct figures *figures, char *text, size_t size)
{
    double seconds = figures_left(figures);
    int percent = figures_percent(figures), n;

    if (percent < 0)
        n = snprintf(text, size, "%.0f MiB  %.0f MiB/s",
                     (double)figures->done / MIB, figures->rate / MIB);
    else
        n = snprintf(text, size, "%3d %%  %.0f of %.0f MiB  %.0f MiB/s",
                     percent, (double)figures->done / MIB,
                     (double)figures->total / MIB, figures->rate / MIB);
    if (seconds >= 0 && n > 0 && (size_t)n < size)
        snprintf(text + n, size - n, "  %u:%02u left", (unsigned)seconds / 60,
                 (unsigned)seconds % 60);
}

void figures_bar(const struct figures *figures, int width, char *text,
                 size_t size)
{
    int percent = figures_percent(figures), filled;
    char after[128], bar[BAR_MAX + 1] = "";

    figures_text(figures, after, sizeof(after));
    width -= (int)strlen(after) + (int)sizeof("devices [] ");
    if (width > BAR_MAX)
        width = BAR_MAX;
    if (percent < 0) {
        snprintf(text, size, "%-6s %s", figures->phase, after);
        return;
    }
    if (width < BAR_LEAST) {
        snprintf(text, size, "%s %d %%", figures->phase, percent);
        return;
    }
    filled = percent * width / 100;
    memset(bar, '.', width);
    memset(bar, '#', filled);
    snprintf(text, size, "%-6s [%s] %s", figures->phase, bar, after);
}

void figures_ended(uint64_t done, uint64_t written, double seconds, char *text,
                   size_t size)
{
    char memory[64] = "", file[64] = "", rate[64] = "";

    if (done) {
        snprintf(memory, sizeof(memory), "%.0f MiB of memory, ",
                 (double)done / MIB);
        snprintf(rate, sizeof(rate), ", %.0f MiB/s",
                 (double)done / MIB / seconds);
    }
    if (written)
        snprintf(file, sizeof(file), "%.0f MiB of file, ",
                 (double)written / MIB);
    snprintf(text, size, "%s%sin %.1f s%s", memory, file, seconds, rate);
}

int terminal_width(int fd)
{
    struct winsize window = { 0 };

    if (ioctl(fd, TIOCGWINSZ, &window) || !window.ws_col)
        return 80;
    return window.ws_col;
}
