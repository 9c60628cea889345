/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The system calls of a session, which only reads and writes descriptors that
 * it already has.  A peer that takes one over can open no file, make no
 * connection and start no program.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "session.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

/* Sanitizers read /proc, and start a process that looks for leaks. */
#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* System calls in a Xen guest whose clock source has no vDSO. */
static const int allowed[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(sendmsg),
    SCMP_SYS(splice),
    SCMP_SYS(shutdown),
    SCMP_SYS(close),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(getsockopt),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(fstat),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(brk),
    SCMP_SYS(madvise),
    SCMP_SYS(futex),
    SCMP_SYS(getrandom),
    SCMP_SYS(getpid),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

/* Only with these values of an argument, under these masks. */
static const struct {
    int call;
    unsigned argument;
    scmp_datum_t mask, value;
} limited[] = {
    { SCMP_SYS(mmap), 2, PROT_EXEC, 0 },
    { SCMP_SYS(mprotect), 2, PROT_EXEC, 0 },
    { SCMP_SYS(ioctl), 1, UINT32_MAX, FIONREAD },
    { SCMP_SYS(fcntl), 1, UINT32_MAX, F_GETFL },
    { SCMP_SYS(fcntl), 1, UINT32_MAX, F_SETFL },
    { SCMP_SYS(fcntl), 1, UINT32_MAX, F_SETPIPE_SZ },
    { SCMP_SYS(setsockopt), 1, UINT32_MAX, IPPROTO_TCP },
    { SCMP_SYS(setsockopt), 1, UINT32_MAX, SOL_TLS },
};

/*
 * Calls that no library makes incidentally: the process is killed, and the
 * listener reports it.  Calls in none of these lists fail with EPERM.
 */
static const int fatal[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(clone),
    SCMP_SYS(clone3),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(bpf),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(keyctl),
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(mount),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(kexec_load),
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

bool sandbox_supported(void)
{
    uint32_t action = SCMP_ACT_KILL_PROCESS;

    if (SANITIZED) {
        errno = ENOTSUP;
        return false;
    }
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

static int add_rules(scmp_filter_ctx filter)
{
    size_t i;
    int r = 0;

    for (i = 0; i < COUNT(allowed) && !r; i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    for (i = 0; i < COUNT(limited) && !r; i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, limited[i].call, 1,
                             SCMP_CMP(limited[i].argument, SCMP_CMP_MASKED_EQ,
                                      limited[i].mask, limited[i].value));
    for (i = 0; i < COUNT(fatal) && !r; i++)
        r = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, fatal[i], 0);
    return r;
}

int sandbox_enter(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int r = filter ? 0 : -ENOMEM;

    /* The same numbers mean other calls on i386 and x32. */
    if (!r)
        r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH,
                             SCMP_ACT_KILL_PROCESS);
    if (!r)
        r = add_rules(filter);
    if (!r)
        r = seccomp_load(filter);
    seccomp_release(filter);
    if (r)
        errno = -r;
    return r ? -1 : 0;
}

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
    /*
     * Capabilities that a service may have without being root; and no core
     * dump with the key.
     */
    if (syscall(SYS_capset, &header, capabilities) < 0 ||
        setrlimit(RLIMIT_CORE, &none) < 0 ||
        setrlimit(RLIMIT_NPROC, &none) < 0 ||
        setrlimit(RLIMIT_NOFILE, &few) < 0 ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -1;
    return chdir("/");
}
