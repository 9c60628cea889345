/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs an xl so that a signal ends what it does, and not the guest. */
#ifndef XL_CMDS_GUARD_H
#define XL_CMDS_GUARD_H

#include <signal.h>

#include "cmds.h"

/* What xl does, and how it is ended. */
struct guard_kind {
    const char *helper; /* argument that its helper has; NULL: xl itself
                             * is sent the signal */
    const char *ending, *waiting; /* for messages */
    bool private;                 /* with umask 077 */
    bool detaches;                /* xl leaves processes behind */
};

extern const struct guard_kind guard_save, guard_restore, guard_dump;

struct guard {
    const struct guard_kind *kind;
    sigset_t signals; /* that are kept back from here on */
    sigset_t old_mask;
    void (*old_sigpipe)(int);
    int stderr_fd;               /* for xl, closed once it runs; -1: ours */
    bool stdout_to_stderr;       /* of xl */
    void (*tick)(void *context); /* NULL, or called now and then */
    void *tick_context;
};

struct guard_result {
    int status;    /* xl's exit status, 128 + signal if one killed it */
    bool killed;   /* by a signal */
    int interrupt; /* the signal that this program was sent, or 0 */
};

/*
 * From here to its end, no SIGINT, SIGTERM, SIGHUP or SIGQUIT ends this
 * program: neither before xl runs nor while its file is made final.  Nor does
 * SIGPIPE, when nobody reads what it prints.
 */
void guard_begin(struct guard *guard, const struct guard_kind *kind);
/*
 * Runs xl in a process group of its own.  On one of these signals the helper
 * is asked to give up, so that xl itself resumes or destroys the guest; xl is
 * always waited for.  0, or -1 after a report.
 */
int guard_run(struct guard *guard, const char *program, char **argv,
              struct guard_result *result);

#endif /* XL_CMDS_GUARD_H */
