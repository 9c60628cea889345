/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ssh as used by xl migrate: runs xl-aligned receive on the other host if
 * installed, else xl migrate-receive.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "xl-cmds/xl.h"
#include "carrier.h"

/* For the login shell of the other host, whichever it is. */
static char *remote_command(char *const *xl, bool stock)
{
    char *words = shell_join(xl), *script, *quoted, *command;

    if (stock)
        return words;
    script = xasprintf("if command -v xl-aligned >/dev/null 2>&1; then "
                       "exec xl-aligned receive -- %s; else exec %s; fi",
                       words, words);
    quoted = shell_quote(script);
    command = xasprintf("exec sh -c %s", quoted);
    free(quoted);
    free(script);
    free(words);
    return command;
}

static int ssh_connect(struct link *link, const char *host, char *const *xl,
                       const struct carrier_options *options)
{
    int in[2] = { -1, -1 }, out[2] = { -1, -1 }, r = -1, errnum;
    char *remote = NULL, *script = NULL;
    struct xl shell = { .program = "sh", .kind = &xl_migrate };
    pid_t pid;

    memset(link, 0, sizeof(*link));
    if (!host[0] || host[0] == '-')
        return link_fail(link, EINVAL, "\"%s\" is not a host", host);
    if (options->ssh && !options->ssh[0])
        return link_fail(link, EINVAL,
                         "-s and --ssh need a command: here "
                         "the host cannot be one");
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0) {
        link_fail(link, errno, "pipe: %s", strerror(errno));
        goto out;
    }
    remote = remote_command(xl, options->stock);
    script = xasprintf("exec %s \"$@\"", options->ssh ?: "ssh");
    shell.arguments.argv = (char *[]){ "sh",         "-c",   script, "sh",
                                       (char *)host, remote, NULL };
    shell.fds[STDIN_FILENO] = in[0];
    shell.fds[STDOUT_FILENO] = out[1];
    shell.fds[STDERR_FILENO] = -1;
    errnum = xl_start(&shell, &pid);
    if (errnum) {
        link_fail(link, errnum, "sh: %s", strerror(errnum));
        goto out;
    }
    r = link_open_fds(link, out[0], in[1], host);
    link->child = pid;
    out[0] = in[1] = -1;
out:
    free(remote);
    free(script);
    for (int i = 0; i < 2; i++) {
        if (in[i] >= 0)
            close(in[i]);
        if (out[i] >= 0)
            close(out[i]);
    }
    return r;
}

const struct carrier carrier_ssh = {
    .name = "ssh",
    .sender_first = false,
    .trusted = true,
    .connect = ssh_connect,
};

#define PLAIN                                              \
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" \
    "0123456789_-+./:,@%="

char *shell_quote(const char *word)
{
    char *quoted, *to;

    if (*word && !word[strspn(word, PLAIN)])
        return xstrdup(word);
    /* At worst each character becomes '\'' . */
    to = quoted = xrealloc(NULL, 4 * strlen(word) + 3);
    *to++ = '\'';
    for (; *word; word++) {
        if (*word == '\'') {
            memcpy(to, "'\\''", 4);
            to += 4;
        } else {
            *to++ = *word;
        }
    }
    *to++ = '\'';
    *to = '\0';
    return quoted;
}

char *shell_join(char *const *words)
{
    char *all = xstrdup(""), *quoted, *longer;

    for (; *words; words++) {
        quoted = shell_quote(*words);
        longer = xasprintf("%s%s%s", all, *all ? " " : "", quoted);
        free(quoted);
        free(all);
        all = longer;
    }
    return all;
}
