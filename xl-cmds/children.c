/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The processes of xl-aligned listen, and how many there may be. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "listener.h"

struct child *child_add(struct listener *listener, pid_t pid, bool is_xl,
                        const char *peer)
{
    struct child *child;

    if (listener->child_count == listener->child_room) {
        listener->child_room = 2 * listener->child_room + 16;
        listener->children = xrealloc(listener->children,
                                      listener->child_room * sizeof(*child));
    }
    child = &listener->children[listener->child_count++];
    memset(child, 0, sizeof(*child));
    child->pid = pid;
    child->is_xl = is_xl;
    child->control = -1;
    snprintf(child->peer, sizeof(child->peer), "%s", peer);
    return child;
}

unsigned count_xl(const struct listener *listener)
{
    unsigned count = 0;
    size_t i;

    for (i = 0; i < listener->child_count; i++)
        count += listener->children[i].is_xl;
    return count;
}

static void child_ended(struct listener *listener, struct child *child,
                        int status)
{
    if (child->is_xl && WIFEXITED(status))
        report("%s: xl ended with status %d", child->peer,
               WEXITSTATUS(status));
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        report("%s: the session tried a forbidden system call and was killed: "
               "a peer may have taken it over; the kernel's log says which "
               "call", child->peer);
    else if (WIFSIGNALED(status))
        report("%s: %s was killed by signal %d", child->peer,
               child->is_xl ? "xl" : "the session", WTERMSIG(status));
    if (child->control >= 0)
        close(child->control);
    *child = listener->children[--listener->child_count];
}

void children_reap(struct listener *listener)
{
    int status;
    pid_t pid;
    size_t i;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (i = 0; i < listener->child_count; i++) {
            if (listener->children[i].pid == pid) {
                child_ended(listener, &listener->children[i], status);
                break;
            }
        }
    }
}

/*
 * Too many at once: the one that has been shaking hands for longest goes.  An
 * honest one needs a fraction of a second and is not it.
 */
void children_make_room(struct listener *listener)
{
    struct child *oldest = NULL;
    unsigned shaking = 0;
    size_t i;

    for (i = 0; i < listener->child_count; i++) {
        struct child *child = &listener->children[i];

        if (child->is_xl || child->agreed)
            continue;
        shaking++;
        if (!oldest || child->order < oldest->order)
            oldest = child;
    }
    if (!oldest || shaking < listener->connections)
        return;
    report("%s: refused: %u connections are shaking hands, and this one for "
           "longest", oldest->peer, shaking);
    kill(oldest->pid, SIGKILL);
    waitpid(oldest->pid, NULL, 0);
    child_ended(listener, oldest, 0);
}
