/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "listener.h"

int privileges_drop(uid_t uid, gid_t gid)
{
    const struct rlimit none = { 0, 0 }, few = { 64, 64 };
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3,
                                               0 };
    const struct __user_cap_data_struct capabilities[2] = { 0 };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    if (geteuid() == 0) {
        if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
            setresuid(uid, uid, uid) < 0)
            return -1;
        if (uid && (setuid(0) == 0 || geteuid() == 0)) {
            errno = EPERM;
            return -1;
        }
    }
    /* Those that a service may have without being root; no dump of a key. */
    if (syscall(SYS_capset, &header, capabilities) < 0 ||
        setrlimit(RLIMIT_CORE, &none) < 0 ||
        setrlimit(RLIMIT_NPROC, &none) < 0 ||
        setrlimit(RLIMIT_NOFILE, &few) < 0 ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -1;
    return chdir("/");
}
