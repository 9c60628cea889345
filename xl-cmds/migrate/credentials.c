/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How xl-aligned listen authenticates peers, and how that is reloaded. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "listener.h"

#define BLANKS          " \t\r\n\f\v"
#define BYTE_ORDER_MARK "\xef\xbb\xbf"
#define NAME_LONGEST    253 /* RFC 1035 */
#define LETTERS         "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* Why no certificate can match it, or NULL; carriers/subject.c compares. */
static const char *hopeless(const char *entry)
{
    const char *at;

    if (!entry[0])
        return "is empty";
    for (at = entry; *at; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return "holds a control character";
    }
    if (strchr(entry, '='))
        return NULL;
    if (strlen(entry) > NAME_LONGEST)
        return "is longer than a name can be";
    if (entry[strspn(entry, LETTERS "0123456789-._:*")])
        return "is neither a name, nor an address, nor a subject (CN=a,O=b)";
    return NULL;
}

void allow_add(struct arguments *list, const char *where, const char *entry)
{
    const char *why = hopeless(entry);

    if (why)
        report("warning: %s: \"%.80s\" can never match: it %s", where, entry,
               why);
    else
        arguments_add(list, entry);
}

/* A writer of the list can add himself. */
static const char *untrustworthy(const struct stat *st)
{
    if (!S_ISREG(st->st_mode))
        return "is not a regular file";
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return "belongs to another user; chown root";
    if (st->st_mode & (S_IWGRP | S_IWOTH))
        return "can be written by others than its owner; chmod go-w";
    return NULL;
}

/* "name # comment"; in a subject (CN=a) a # is an ordinary character. */
static void take_line(struct arguments *list, const char *where, char *line)
{
    char *end;

    line += strspn(line, BLANKS);
    end = strchr(line, '#');
    if (end && (end == line ||
                (strchr(BLANKS, end[-1]) && !memchr(line, '=', end - line))))
        *end = '\0';
    for (end = line + strlen(line); end > line && strchr(BLANKS, end[-1]);)
        *--end = '\0';
    if (line[0])
        allow_add(list, where, line);
}

int allow_read(struct arguments *list, const char *name)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK), status;
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    const char *why = NULL;
    char *line = NULL, *where;
    unsigned long number = 0;
    size_t room = 0;
    struct stat st;
    ssize_t r = -1;

    if (!file || fstat(fd, &st) < 0)
        why = strerror(errno);
    else
        why = untrustworthy(&st);
    while (!why && (r = getline(&line, &room, file)) >= 0) {
        if (memchr(line, '\0', r)) {
            why = "is not text in UTF-8: a zero byte";
            break;
        }
        where = xasprintf("%s:%lu", name, ++number);
        take_line(list, where,
                  line + (number == 1 && !strncmp(line, BYTE_ORDER_MARK, 3)
                              ? 3
                              : 0));
        free(where);
    }
    if (!why && !feof(file))
        why = strerror(errno);
    status = why ? STATUS_FAILED : STATUS_OK;
    if (why)
        report("%s: %s", name, why);
    free(line);
    if (file)
        fclose(file);
    else if (fd >= 0)
        close(fd);
    return status;
}

static const struct carrier *first_with_credentials(
    const struct listener *listener)
{
    size_t i;

    for (i = 0; i < listener->socket_count; i++) {
        if (listener->sockets[i].carrier->prepare)
            return listener->sockets[i].carrier;
    }
    return NULL;
}

/* Before reading, so that a later change is noticed. */
static void look_at_revoked(const struct listener *listener,
                            struct stat *found)
{
    memset(found, 0, sizeof(*found));
    if (listener->options.revoked)
        stat(listener->options.revoked, found);
}

int credentials_load(struct listener *listener)
{
    const struct carrier *carrier = first_with_credentials(listener);
    struct arguments allow = { 0 };
    int status = STATUS_OK, i;
    char why[512];

    for (i = 0; i < listener->given.argc; i++)
        allow_add(&allow, "--allow", listener->given.argv[i]);
    for (i = 0; i < listener->files.argc && !status; i++)
        status = allow_read(&allow, listener->files.argv[i]);
    if (!status && carrier && !allow.argc) {
        report("who may connect? --allow=NAME, or --allow='*' for every "
               "certificate of the authority");
        status = STATUS_USAGE;
    }
    if (!status && carrier) {
        look_at_revoked(listener, &listener->revoked);
        if (carrier->prepare(&listener->options, true, why, sizeof(why)) < 0) {
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
