/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * domwatch suspended|running FILE: creates FILE when a domain other than dom0
 * is seen suspended, or is seen to run that was not there when this began.
 * The time of the file is the test machine's, if FILE is on a shared folder.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <xenctrl.h>

#define DOMAINS_MAX 32

static bool is_suspended(const xc_domaininfo_t *info)
{
    return (info->flags & XEN_DOMINF_shutdown) &&
           (info->flags >> XEN_DOMINF_shutdownshift &
            XEN_DOMINF_shutdownmask) == SHUTDOWN_suspend;
}

static bool is_running(const xc_domaininfo_t *info)
{
    return !(info->flags &
             (XEN_DOMINF_paused | XEN_DOMINF_shutdown | XEN_DOMINF_dying));
}

int main(int argc, char **argv)
{
    const struct timespec pause = { 0, 1000000 };
    xc_domaininfo_t infos[DOMAINS_MAX];
    xc_interface *xc = xc_interface_open(NULL, NULL, 0);
    bool suspended = argc == 3 && !strcmp(argv[1], "suspended");
    int newest = 0, count, i;

    if (!xc || argc != 3)
        return 2;
    count = xc_domain_getinfolist(xc, 1, DOMAINS_MAX, infos);
    for (i = 0; i < count; i++)
        newest = infos[i].domain > newest ? infos[i].domain : newest;
    puts("watching");
    fflush(stdout);
    for (;;) {
        count = xc_domain_getinfolist(xc, suspended ? 1 : newest + 1,
                                      DOMAINS_MAX, infos);
        for (i = 0; i < count; i++) {
            if (suspended ? is_suspended(&infos[i]) : is_running(&infos[i]))
                return open(argv[2], O_CREAT | O_WRONLY, 0644) < 0;
        }
        nanosleep(&pause, NULL);
    }
}
