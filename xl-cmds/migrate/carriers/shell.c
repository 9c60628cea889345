/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>

#include "xl-cmds/cmds.h"
#include "shell.h"

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
