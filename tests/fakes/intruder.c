/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Preloaded into xl-aligned listen: what an attacker would do who controls a
 * session.  INTRUDER says what; the outcome goes to standard error.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define X32 0x40000000L

/* Not dprintf, which would seek. */
static void say(const char *format, ...)
{
    char line[200];
    va_list ap;

    va_start(ap, format);
    vsnprintf(line, sizeof(line), format, ap);
    va_end(ap);
    if (write(2, line, strlen(line)) < 0)
        _exit(78);
}

static char *const words[] = { "/bin/true", NULL };
static char page[8192] __attribute__((aligned(4096)));
static struct iovec window = { page, 8 };

/* ---- what is refused ---------------------------------------------------- */

static long change_own_code(void)
{
    return mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static long map_code(void)
{
    return (long)mmap(NULL, 4096, PROT_READ | PROT_EXEC,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static long attach_filter(void)
{
    struct sock_filter code = BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog program = { 1, &code };

    return setsockopt(2, SOL_SOCKET, SO_ATTACH_FILTER, &program,
                      sizeof(program));
}

#define ATTACK(name, call) \
    static long name(void) \
    {                      \
        return call;       \
    }
ATTACK(open_to_read, open("/etc/passwd", O_RDONLY))
ATTACK(open_to_write, open("/dev/null", O_WRONLY))
ATTACK(open_by_number, syscall(SYS_open, "/etc/passwd", O_RDONLY))
ATTACK(open_new_way, syscall(SYS_openat2, -100, "/", page, 24))
ATTACK(open_memory, syscall(SYS_memfd_create, "x", 0))
ATTACK(open_proc, open("/proc/self/mem", O_RDWR))
ATTACK(socket_inet, socket(AF_INET, SOCK_STREAM, 0))
ATTACK(socket_unix, socket(AF_UNIX, SOCK_STREAM, 0))
ATTACK(socket_pair, socketpair(AF_UNIX, SOCK_STREAM, 0, (int *)page))
ATTACK(connect_on, connect(0, (void *)page, 16))
ATTACK(kill_listener, kill(getppid(), SIGTERM))
ATTACK(kill_parent, kill(1, 0))
ATTACK(kill_all, kill(-1, 0))
ATTACK(open_process, syscall(SYS_pidfd_open, 1, 0))
ATTACK(take_descriptor, syscall(SYS_pidfd_getfd, 0, 0, 0))
ATTACK(be_root, setuid(0))
ATTACK(be_dumpable, prctl(PR_SET_DUMPABLE, 1))
ATTACK(change_root, chroot("/"))
ATTACK(change_mode, chmod("/dev/null", 0666))
ATTACK(remove_file, unlink("/nothing"))
ATTACK(own_signals, fcntl(2, F_SETOWN, getppid()))
ATTACK(type_for_terminal, ioctl(0, TIOCSTI, page))
ATTACK(raise_limit, syscall(SYS_prlimit64, 0, 7, NULL, page))
ATTACK(trace_itself, syscall(SYS_seccomp, 1, 0, page))
ATTACK(personality_, syscall(SYS_personality, 0x400000))
ATTACK(share_memory, syscall(SYS_shmget, 1, 4096, 01666))
ATTACK(set_clock, syscall(SYS_clock_settime, 0, page))
/* ---- what ends the session ---------------------------------------------- */
ATTACK(run_program, execve(words[0], words, NULL))
ATTACK(run_descriptor, syscall(SYS_execveat, 2, "", words, NULL, 0x1000))
ATTACK(make_process, syscall(SYS_fork))
ATTACK(make_thread, syscall(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0))
ATTACK(make_newly, syscall(SYS_clone3, page, 64))
ATTACK(trace, syscall(SYS_ptrace, 16, getppid(), 0, 0))
ATTACK(read_memory, process_vm_readv(getppid(), &window, 1, &window, 1, 0))
ATTACK(start_ring, syscall(SYS_io_uring_setup, 1, page))
ATTACK(x32_open, syscall(X32 | SYS_open, "/etc/passwd", O_RDONLY))

static long i386_getuid(void)
{
    long r;

    __asm__ volatile("int $0x80"
                     : "=a"(r)
                     : "a"(24L)
                     : "memory", "r8", "r9", "r10", "r11");
    return r;
}

static const struct {
    const char *name;
    long (*try)(void);
    bool fatal;
} attacks[] = {
#define REFUSED(name)      \
    {                      \
#name, name, false \
    }
#define FATAL(name)       \
    {                     \
#name, name, true \
    }
    REFUSED(open_to_read),    REFUSED(open_to_write),
    REFUSED(open_by_number),  REFUSED(open_new_way),
    REFUSED(open_memory),     REFUSED(open_proc),
    REFUSED(socket_inet),     REFUSED(socket_unix),
    REFUSED(socket_pair),     REFUSED(connect_on),
    REFUSED(kill_listener),   REFUSED(kill_parent),
    REFUSED(kill_all),        REFUSED(open_process),
    REFUSED(take_descriptor), REFUSED(be_root),
    REFUSED(be_dumpable),     REFUSED(change_root),
    REFUSED(change_mode),     REFUSED(remove_file),
    REFUSED(own_signals),     REFUSED(type_for_terminal),
    REFUSED(raise_limit),     REFUSED(trace_itself),
    REFUSED(personality_),    REFUSED(share_memory),
    REFUSED(set_clock),       REFUSED(change_own_code),
    REFUSED(map_code),        REFUSED(attach_filter),
    FATAL(run_program),       FATAL(run_descriptor),
    FATAL(make_process),      FATAL(make_thread),
    FATAL(make_newly),        FATAL(trace),
    FATAL(read_memory),       FATAL(start_ring),
    FATAL(x32_open),          FATAL(i386_getuid),
};

#define ATTACKS (sizeof(attacks) / sizeof(attacks[0]))

/* ---- all numbers -------------------------------------------------------- */

/* Those that a session may make, whatever their arguments, or some of them. */
static const short made[] = {
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_recvfrom,
    SYS_recvmsg,
    SYS_sendto,
    SYS_sendmsg,
    SYS_splice,
    SYS_shutdown,
    SYS_close,
    SYS_poll,
    SYS_ppoll,
    SYS_getsockopt,
    SYS_getsockname,
    SYS_getpeername,
    SYS_fstat,
    SYS_munmap,
    SYS_mremap,
    SYS_brk,
    SYS_madvise,
    SYS_futex,
    SYS_getrandom,
    SYS_getpid,
    SYS_clock_gettime,
    SYS_gettimeofday,
    SYS_time,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_restart_syscall,
    SYS_exit,
    SYS_exit_group,
    SYS_mmap,
    SYS_mprotect,
};
/* Those for which it is killed. */
static const short fatal[] = {
    SYS_execve,
    SYS_execveat,
    SYS_fork,
    SYS_vfork,
    SYS_clone,
    SYS_clone3,
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_bpf,
    SYS_userfaultfd,
    SYS_perf_event_open,
    SYS_io_uring_setup,
    SYS_keyctl,
    SYS_unshare,
    SYS_setns,
    SYS_mount,
    SYS_init_module,
    SYS_finit_module,
    SYS_kexec_load,
};
/* uretprobe and uprobe: newer kernels do not filter them; SIGILL is theirs. */
static const short unfiltered[] = { 335, 336 };

static bool is_in(const short *numbers, size_t bytes, long number)
{
    for (size_t i = 0; i < bytes / sizeof(*numbers); i++) {
        if (numbers[i] == number)
            return true;
    }
    return false;
}

static void try_numbers(void)
{
    unsigned tried = 0;

    for (long number = 0; number < 600; number++) {
        if (is_in(made, sizeof(made), number) ||
            is_in(fatal, sizeof(fatal), number) ||
            is_in(unfiltered, sizeof(unfiltered), number))
            continue;
        errno = 0;
        if (syscall(number, -1L, -1L, -1L, -1L, -1L, -1L) >= 0 ||
            errno != EPERM)
            say("intruder: call %ld: %s\n", number, strerror(errno));
        tried++;
    }
    say("intruder: %u numbers\n", tried);
}

/* ---- when --------------------------------------------------------------- */

static void try_all_refused(void)
{
    for (size_t i = 0; i < ATTACKS; i++) {
        if (attacks[i].fatal)
            continue;
        errno = 0;
        long r = attacks[i].try();
        say("intruder: %s: %s\n", attacks[i].name,
            r == -1 ? strerror(errno) : "done");
    }
    say("intruder: end\n");
}

static void intrude(void)
{
    const char *what = getenv("INTRUDER");

    if (!what)
        return;
    unsetenv("INTRUDER");
    if (!strcmp(what, "refused"))
        try_all_refused();
    if (!strcmp(what, "numbers"))
        try_numbers();
    for (size_t i = 0; i < ATTACKS; i++) {
        if (strcmp(what, attacks[i].name))
            continue;
        long r = attacks[i].try();
        say("intruder: %s: lives on, %ld %s\n", what, r, strerror(errno));
        _exit(77);
    }
}

int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    /* A session is the one that waits with poll, after it has dropped all. */
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0)
        intrude();
    return syscall(SYS_poll, fds, count, timeout);
}
