/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a session gives up before it talks to its peer. */
#ifndef XL_CMDS_SANDBOX_H
#define XL_CMDS_SANDBOX_H

#include <stdbool.h>
#include <sys/types.h>

/* -1 and errno if any privilege is left. */
int privileges_drop(uid_t uid, gid_t gid);
bool sandbox_supported(void); /* false: errno says what is missing */
/* Only with what privileges_drop leaves; -1 and errno. */
int sandbox_enter(void);

#endif /* XL_CMDS_SANDBOX_H */
