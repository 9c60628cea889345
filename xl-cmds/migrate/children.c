/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The processes of xl-aligned listen, and their limits. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "listener.h"

/* Extra time for a session to report why it ends. */
#define GRACE_MS 5000
/* And to deliver xl's last output (negotiation.md, section 6). */
#define REST_MS 20000

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
    if (!is_xl)
        child->deadline = now_ms() + GRACE_MS +
                          listener->handshake_seconds * 1000LL;
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

static bool is_shaking(const struct child *child)
{
    return !child->is_xl && !child->xl;
}

unsigned children_shaking(const struct listener *listener)
{
    unsigned count = 0;
    size_t i;

    for (i = 0; i < listener->child_count; i++)
        count += is_shaking(&listener->children[i]);
    return count;
}

/* Once xl has ended, its session has little left to do. */
static void xl_ended(struct listener *listener, pid_t xl)
{
    size_t i;

    for (i = 0; i < listener->child_count; i++) {
        if (listener->children[i].xl == xl)
            listener->children[i].deadline = now_ms() + REST_MS;
    }
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
               "call",
               child->peer);
    else if (WIFSIGNALED(status))
        report("%s: %s was killed by signal %d", child->peer,
               child->is_xl ? "xl" : "the session", WTERMSIG(status));
    if (child->control >= 0)
        close(child->control);
    if (child->is_xl)
        xl_ended(listener, child->pid);
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

static void tell(struct child *child, int signum)
{
    kill(child->pid, signum);
    child->ending = true;
    child->deadline = now_ms() + GRACE_MS;
}

/* Handshakes in progress from this address, except those being ended. */
static unsigned count_from(const struct listener *listener,
                           const char *address)
{
    unsigned count = 0;
    size_t i;

    for (i = 0; i < listener->child_count; i++)
        count += is_shaking(&listener->children[i]) &&
                 !listener->children[i].ending &&
                 !strcmp(listener->children[i].address, address);
    return count;
}

/*
 * The oldest handshake from the address with the most: an honest peer needs
 * only a fraction of a second.
 */
void children_make_room(struct listener *listener)
{
    unsigned shaking = 0, most = 0, count;
    struct child *victim = NULL;
    size_t i;

    for (i = 0; i < listener->child_count; i++)
        shaking += is_shaking(&listener->children[i]) &&
                   !listener->children[i].ending;
    if (shaking < listener->connections)
        return;
    for (i = 0; i < listener->child_count; i++) {
        struct child *child = &listener->children[i];

        /* A session that has asked for an xl is past the handshake. */
        if (!is_shaking(child) || child->ending || child->asked)
            continue;
        count = count_from(listener, child->address);
        if (!victim || count > most ||
            (count == most && child->order < victim->order))
            victim = child;
        most = count > most ? count : most;
    }
    if (victim)
        tell(victim, SIGUSR1);
}

void children_end(struct listener *listener)
{
    size_t i;

    for (i = 0; i < listener->child_count; i++) {
        if (is_shaking(&listener->children[i]))
            tell(&listener->children[i], SIGTERM);
    }
}

bool children_expire(struct listener *listener)
{
    bool others = false;
    int64_t now = now_ms();
    size_t i;

    for (i = 0; i < listener->child_count; i++) {
        struct child *child = &listener->children[i];

        if (child->deadline && now >= child->deadline)
            kill(child->pid, SIGKILL);
        others |= child->deadline != 0;
    }
    return others;
}

const char *children_refuse_domain(const struct listener *listener,
                                   const char *subject, char *text,
                                   size_t size)
{
    unsigned own = 0;
    size_t i;

    for (i = 0; i < listener->child_count; i++)
        own += listener->children[i].is_xl && subject[0] &&
               !strcmp(listener->children[i].subject, subject);
    if (count_xl(listener) >= listener->domains)
        snprintf(text, size, "%u domains are arriving already",
                 listener->domains);
    else if (own >= listener->domains_each)
        snprintf(text, size, "%u domains of %s are arriving already", own,
                 subject);
    else
        return NULL;
    return text;
}
