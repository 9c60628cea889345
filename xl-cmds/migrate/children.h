/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The processes of xl-aligned listen, and how many there may be. */
#ifndef XL_CMDS_CHILDREN_H
#define XL_CMDS_CHILDREN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct listener;

/* One process: a session, or the xl that was started for one. */
struct child {
    pid_t pid;
    bool is_xl;
    bool asked;       /* sessions: for an xl */
    pid_t xl;         /* sessions: the one that it got, or 0 */
    bool told;        /* sessions: to end */
    int64_t deadline; /* when it is killed; 0 never */
    int control;      /* sessions: -1 once closed */
    uint64_t order;
    char address[64]; /* without a port */
    char peer[160];
    char subject[256]; /* of a certificate, of an xl */
};

struct child *child_add(struct listener *listener, pid_t pid, bool is_xl,
                        const char *peer);
unsigned count_xl(const struct listener *listener);
/* Those that are still shaking hands: how many there are. */
unsigned children_shaking(const struct listener *listener);
void children_reap(struct listener *listener);
/* One more is to shake hands: ends another if there are too many. */
void children_make_room(struct listener *listener);
/* Ends those that shake hands: the listener is ending. */
void children_end(struct listener *listener);
/* Kills those that had to be gone by now; whether others will have to be. */
bool children_expire(struct listener *listener);
/* Why no other domain may arrive, by `subject` in particular; or NULL. */
const char *children_refuse_domain(const struct listener *listener,
                                   const char *subject, char *text,
                                   size_t size);

#endif /* XL_CMDS_CHILDREN_H */
