/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What xl-aligned listen knows peers by, and how it is renewed. */
#include <string.h>

#include "common/fd.h"
#include "listener.h"

static const struct transport *first_with_credentials(
    const struct listener *listener)
{
    size_t i;

    for (i = 0; i < listener->socket_count; i++) {
        if (listener->sockets[i].transport->prepare)
            return listener->sockets[i].transport;
    }
    return NULL;
}

/* Before it is read, so that a later change is seen. */
static void look_at_revoked(const struct listener *listener,
                            struct stat *found)
{
    memset(found, 0, sizeof(*found));
    if (listener->options.revoked)
        stat(listener->options.revoked, found);
}

int credentials_load(struct listener *listener)
{
    const struct transport *transport = first_with_credentials(listener);
    struct arguments allow = { 0 };
    int status = STATUS_OK, i;
    char why[512];

    for (i = 0; i < listener->given.argc; i++)
        allow_add(&allow, "--allow", listener->given.argv[i]);
    for (i = 0; i < listener->files.argc && !status; i++)
        status = allow_read(&allow, listener->files.argv[i]);
    if (!status && transport && !allow.argc) {
        report("who may connect? --allow=NAME, or --allow='*' for every "
               "certificate of the authority");
        status = STATUS_USAGE;
    }
    if (!status && transport) {
        look_at_revoked(listener, &listener->revoked);
        if (transport->prepare(&listener->options, true, why, sizeof(why)) <
            0) {
            report("%s", why);
            status = STATUS_FAILED;
        }
    }
    if (status) {
        arguments_free(&allow);
        return status;
    }
    arguments_free(&listener->allow);
    listener->allow = allow;
    listener->options.allow = (const char *const *)listener->allow.argv;
    return STATUS_OK;
}

void credentials_refresh(struct listener *listener)
{
    const struct stat *old = &listener->revoked;
    struct stat now;

    look_at_revoked(listener, &now);
    if (stat_same(&now, old) && now.st_size == old->st_size &&
        now.st_mtim.tv_sec == old->st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == old->st_mtim.tv_nsec)
        return;
    report("%s has changed", listener->options.revoked);
    if (credentials_load(listener))
        report("warning: going on with the old certificates and lists");
}
