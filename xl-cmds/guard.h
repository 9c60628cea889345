/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs a saving xl so that a signal ends the save and not the guest. */
#ifndef XL_CMDS_GUARD_H
#define XL_CMDS_GUARD_H

#include <signal.h>

#include "cmds.h"

struct guard {
    sigset_t signals;       /* that are kept back from here on */
    sigset_t old_mask;
    int stderr_fd;          /* for xl, closed once it runs; -1: ours */
    void (*tick)(void *context);    /* NULL, or called now and then */
    void *tick_context;
};

struct guard_result {
    int status;     /* xl's exit status, 128 + signal if one killed it */
    bool killed;    /* by a signal */
    int interrupt;  /* the signal that this program was sent, or 0 */
};

/*
 * From here to its end, no SIGINT, SIGTERM, SIGHUP or SIGQUIT ends this
 * program: neither before xl runs nor while its file is made final.
 */
void guard_begin(struct guard *guard);
/*
 * Runs xl in a process group of its own, with umask 077.  On one of these
 * signals the save helper is asked to give up, so that xl itself resumes the
 * guest; xl is always waited for.  0, or -1 after a report.
 */
int guard_run(struct guard *guard, const char *program, char **argv,
              struct guard_result *result);

#endif /* XL_CMDS_GUARD_H */
