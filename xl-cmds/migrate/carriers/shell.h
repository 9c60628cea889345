/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Words for a shell to take as they are. */
#ifndef XL_CMDS_SHELL_H
#define XL_CMDS_SHELL_H

/* Both: the caller's to free; they end the program if memory is out. */
char *shell_quote(const char *word);
/* Each word quoted, a space between them. */
char *shell_join(char *const *words);

#endif /* XL_CMDS_SHELL_H */
