/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pausewatch DOMID: prints, for each time that the domain was paused and ran
 * again, for how many milliseconds; until it gets SIGTERM.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <xenctrl.h>

static volatile sig_atomic_t ended;

static void on_term(int signal)
{
    (void)signal;
    ended = 1;
}

static double now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static bool stands_still(xc_interface *xc, uint32_t domid)
{
    xc_domaininfo_t info;

    if (xc_domain_getinfolist(xc, domid, 1, &info) != 1 ||
        info.domain != domid)
        exit(3);
    return info.flags & (XEN_DOMINF_paused | XEN_DOMINF_shutdown);
}

int main(int argc, char **argv)
{
    const struct timespec interval = { 0, 1000000 };
    xc_interface *xc = xc_interface_open(NULL, NULL, 0);
    bool still = false;
    double since = 0;

    if (!xc || argc != 2)
        return 2;
    signal(SIGTERM, on_term);
    puts("watching");
    fflush(stdout);
    while (!ended) {
        bool was = still;

        still = stands_still(xc, atoi(argv[1]));
        if (still && !was)
            since = now_ms();
        if (was && !still)
            printf("%.1f\n", now_ms() - since);
        fflush(stdout);
        nanosleep(&interval, NULL);
    }
    return 0;
}
