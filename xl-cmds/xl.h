/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Running xl: its program, its arguments, and signals. */
#ifndef XL_CMDS_XL_H
#define XL_CMDS_XL_H

#include <signal.h>
#include <sys/types.h>

#include "cmds.h"

/* A growing argument vector. */
struct arguments {
    char **argv; /* ends with NULL */
    int argc;
};
void arguments_add(struct arguments *arguments, const char *argument);
/* The operands, after "--" if one of them could be taken for an option. */
void arguments_add_operands(struct arguments *arguments, char **argv);
void arguments_free(struct arguments *arguments);

/* What xl does, and how to cancel it. */
struct xl_kind {
    enum { GROUP_OWN, GROUP_OURS, GROUP_SESSION } group;
    const char *helper; /* argument of its helper, which is sent SIGTERM;
                         * NULL: xl itself is sent the signal */
    const char *ending, *waiting; /* for messages */
    const char *done, *where;     /* "saved" "to", for progress */
    bool private;                 /* with umask 077 */
    bool detaches;                /* xl leaves processes running */
};

extern const struct xl_kind xl_save, xl_restore, xl_dump, xl_migrate,
    xl_receive, xl_query;

struct xl {
    const char *program;
    struct arguments arguments;
    const struct xl_kind *kind;
    const char *domain, *file; /* for progress; domain NULL: unknown */
    struct progress *shown;
    int fds[3];                  /* its stdin, stdout, stderr; -1: ours */
    void (*tick)(void *context); /* NULL, or called several times a second */
    void *tick_context;
    sigset_t signals; /* blocked by xl_guard() */
    sigset_t old_mask;
    void (*old_sigpipe)(int);
};

struct xl_result {
    int status;    /* xl's exit status, 128 + signal if one killed it */
    bool killed;   /* by a signal */
    int interrupt; /* the signal that this program was sent, or 0 */
};

/* The path of xl's program, or NULL after a report.  Not to be freed. */
const char *xl_program(void);
/* "xl COMMAND", without options. */
void xl_init(struct xl *xl, const struct xl_kind *kind, const char *command);
void xl_free(struct xl *xl);
/* Executes a program; returns an exit status if that fails. */
int xl_become(const char *program, char **argv);
/* Starts xl and does not wait for it; 0, or an errno value. */
int xl_start(const struct xl *xl, pid_t *pid);

/*
 * From here on SIGINT, SIGTERM, SIGHUP and SIGQUIT do not kill this program,
 * neither before xl runs nor while its file is committed; nor does SIGPIPE.
 */
void xl_guard(struct xl *xl);
/*
 * Runs a guarded xl and waits for it.  On a signal the helper is stopped, so
 * that xl itself resumes or destroys the guest. 0, or -1 after a report.
 */
int xl_run(struct xl *xl, struct xl_result *result);
/* The same with progress (progress.h); the caller ends xl->shown. */
int xl_run_shown(struct xl *xl, const char *progress,
                 struct xl_result *result);
/*
 * Guards and runs xl if there is progress to show, else executes it.  The exit
 * status, or 128 plus the number of the signal that ended it.
 */
int xl_finish(struct xl *xl, const char *progress);

#endif /* XL_CMDS_XL_H */
