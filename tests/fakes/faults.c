/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Preloaded ahead of the plugin: the FAULT_N-th call of FAULT_CALL, in the
 * program of the name FAULT_IN, fails with EIO and leaves a file FAULT_MARK.
 * FAULT_MEMFD: memfd_create is that of a kernel with vm.memfd_noexec=2
 * ("noexec"), of one older than that ("old"), or refuses ("none").
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool fails(const char *call)
{
    static atomic_int calls;
    const char *wanted = getenv("FAULT_CALL"), *in = getenv("FAULT_IN");
    int fd;

    if (!wanted || strcmp(wanted, call) || !in ||
        strcmp(in, program_invocation_short_name) ||
        atomic_fetch_add(&calls, 1) + 1 != atoi(getenv("FAULT_N")))
        return false;
    fd = syscall(SYS_openat, AT_FDCWD, getenv("FAULT_MARK"),
                 O_WRONLY | O_CREAT, 0644);
    if (fd < 0)
        abort();
    close(fd);
    errno = EIO;
    return true;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define FAULT(type, name, parameters, arguments)               \
    type name parameters                                       \
    {                                                          \
        return fails(#name) ? (type)-1 : REAL(name) arguments; \
    }

FAULT(int, fsync, (int fd), (fd))
FAULT(int, fdatasync, (int fd), (fd))
FAULT(int, fstat, (int fd, struct stat *st), (fd, st))
FAULT(int, lstat, (const char *path, struct stat *st), (path, st))
FAULT(off_t, lseek, (int fd, off_t offset, int whence), (fd, offset, whence))
FAULT(int, ftruncate, (int fd, off_t length), (fd, length))
FAULT(int, fallocate, (int fd, int mode, off_t offset, off_t length),
      (fd, mode, offset, length))
FAULT(int, rename, (const char *from, const char *to), (from, to))
FAULT(int, renameat2,
      (int from, const char *a, int to, const char *b, unsigned flags),
      (from, a, to, b, flags))
FAULT(int, renameat, (int from, const char *a, int to, const char *b),
      (from, a, to, b))
FAULT(int, fstatat, (int at, const char *path, struct stat *st, int flags),
      (at, path, st, flags))
FAULT(ssize_t, readlink, (const char *path, char *to, size_t size),
      (path, to, size))
FAULT(ssize_t, pread, (int fd, void *data, size_t length, off_t offset),
      (fd, data, length, offset))
FAULT(ssize_t, pwrite, (int fd, const void *data, size_t length, off_t offset),
      (fd, data, length, offset))
FAULT(void *, mmap,
      (void *at, size_t length, int protection, int flags, int fd,
       off_t offset),
      (at, length, protection, flags, fd, offset))

int open(const char *path, int flags, ...)
{
    va_list al;
    int mode;

    va_start(al, flags);
    mode = va_arg(al, int);
    va_end(al);
    return fails("open") ? -1 : REAL(open)(path, flags, mode);
}

/* What open is in code that checks its flags. */
int __open_2(const char *path, int flags);

int __open_2(const char *path, int flags)
{
    return fails("open") ? -1 : REAL(open)(path, flags);
}

/* These return the negative errno value. */
struct io_uring;
int io_uring_queue_init(unsigned entries, struct io_uring *ring,
                        unsigned flags);
int io_uring_submit(struct io_uring *ring);

FAULT(int, io_uring_queue_init,
      (unsigned entries, struct io_uring *ring, unsigned flags),
      (entries, ring, flags))
FAULT(int, io_uring_submit, (struct io_uring * ring), (ring))

int memfd_create(const char *name, unsigned flags)
{
    const char *kernel = getenv("FAULT_MEMFD");
    const unsigned noexec_seal = 8;
    bool sealed = flags & noexec_seal;

    if (!kernel)
        return REAL(memfd_create)(name, flags);
    errno = strcmp(kernel, "old") ? EACCES : EINVAL;
    if (!strcmp(kernel, "none"))
        return -1;
    return sealed == !strcmp(kernel, "old")
               ? -1
               : REAL(memfd_create)(name, flags & ~noexec_seal);
}

/* dlsym itself allocates: never look these up before main. */
void *__libc_calloc(size_t n, size_t size);
char *__strdup(const char *text);

void *calloc(size_t n, size_t size)
{
    return fails("calloc") ? NULL : __libc_calloc(n, size);
}

char *strdup(const char *text)
{
    return fails("strdup") ? NULL : __strdup(text);
}
