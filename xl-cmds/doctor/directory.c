/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes an unnamed file the way a save would. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "doctor.h"
#include "xensave.h"

#define SAMPLE (4U << 20)
#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x80
#endif

static const struct filesystem {
    unsigned long magic;
    const char *name;
} filesystems[] = {
    { 0xef53, "ext4" },      { 0x58465342, "XFS" },
    { 0x9123683e, "btrfs" }, { 0x01021994, "tmpfs" },
    { 0x6969, "NFS" },       { 0x794c7630, "overlayfs" },
    { 0x2fc12fc1, "ZFS" },   { 0xf2f52010, "F2FS" },
    { 0xff534d42, "CIFS" },  { 0x65735546, "FUSE" },
    { 0x01161970, "GFS2" },  { 0x7461636f, "OCFS2" },
};

static const char *filesystem_name(int fd)
{
    struct statfs facts;
    size_t i;

    if (!fstatfs(fd, &facts))
        for (i = 0; i < sizeof(filesystems) / sizeof(filesystems[0]); i++)
            if (filesystems[i].magic == (unsigned long)facts.f_type)
                return filesystems[i].name;
    return "an unknown filesystem";
}

static void check_kernel(struct doctor *doctor)
{
    struct io_uring ring;
    struct utsname name;
    int r = io_uring_queue_init(8, &ring, 0);

    uname(&name);
    doctor_find(doctor, FINDING_OK, "kernel", "%s %s", name.sysname,
                name.release);
    if (!r) {
        io_uring_queue_exit(&ring);
        doctor_find(doctor, FINDING_OK, "io_uring", "available");
    } else {
        doctor_find(doctor, FINDING_NOTE, "io_uring",
                    "%s; threads are used instead%s", strerror(-r),
                    r == -EPERM ? " (see /proc/sys/kernel/io_uring_disabled)"
                                : "");
    }
}

static int open_nameless(const char *directory)
{
    char *name;
    int fd = open(directory, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
        return fd;
    name = xasprintf("%s/.xl-aligned.XXXXXX", directory);
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0)
        unlink(name);
    free(name);
    return fd;
}

/* If statx does not know, the sample below finds out. */
static void check_alignment(struct doctor *doctor, int fd)
{
#ifdef STATX_DIOALIGN
    struct statx facts;

    if (!statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &facts) &&
        (facts.stx_mask & STATX_DIOALIGN)) {
        if (!facts.stx_dio_offset_align)
            doctor_find(doctor, FINDING_NOTE, "O_DIRECT",
                        "statx reports none");
        else
            doctor_find(doctor, FINDING_OK, "O_DIRECT",
                        "in blocks of %u bytes, memory aligned to %u (statx)",
                        facts.stx_dio_offset_align, facts.stx_dio_mem_align);
    }
#else
    (void)doctor;
    (void)fd;
#endif
}

static void check_space(struct doctor *doctor, int fd)
{
    struct statvfs facts;
    uint64_t free_bytes;

    if (fstatvfs(fd, &facts))
        return;
    free_bytes = (uint64_t)facts.f_bavail * facts.f_frsize;
    doctor_find(doctor, free_bytes < SAMPLE ? FINDING_BAD : FINDING_OK,
                "space", "%.1f GiB free in %s, on %s",
                (double)free_bytes / (1 << 30), doctor->directory,
                filesystem_name(fd));
}

/* The library's own choice, the same as in a save. */
static int write_sample(struct doctor *doctor, int fd,
                        struct xensave_io_state *state)
{
    struct xensave_io_options options = XENSAVE_IO_OPTIONS_INIT;
    struct xensave_error error = { 0 };
    struct xensave_sink *sink;
    unsigned char *sample;
    int r = -1;

    xensave_io_parse(doctor->io, &options.io);
    xensave_engine_parse(doctor->engine, &options.engine);
    sink = xensave_sink_open_file(fd, &options, &error);
    if (!sink) {
        doctor_find(doctor, FINDING_BAD, "writing", "%s", error.text);
        return -1;
    }
    sample = xrealloc(NULL, SAMPLE);
    memset(sample, 0xa5, SAMPLE);
    if (xensave_sink_write(sink, sample, SAMPLE) ||
        xensave_sink_finish(sink)) {
        doctor_find(doctor, FINDING_BAD, "writing", "%s", error.text);
        goto out;
    }
    xensave_sink_state(sink, state);
    r = 0;

out:
    free(sample);
    xensave_sink_free(sink);
    return r;
}

static bool has_dontcache(int fd)
{
    char byte = 0;
    struct iovec iov = { &byte, 1 };

    return pwritev2(fd, &iov, 1, 0, RWF_DONTCACHE) == 1;
}

static void judge_io(struct doctor *doctor, int fd,
                     const struct xensave_io_state *state)
{
    switch (state->io) {
    case XENSAVE_IO_DIRECT:
        doctor_find(doctor, FINDING_OK, "writing",
                    "direct, through %s, pages aligned to %u bytes%s",
                    xensave_engine_name(state->engine), state->alignment,
                    state->huge_pages ? ", with huge pages" : "");
        break;
    case XENSAVE_IO_WINDOW:
        doctor_find(doctor, FINDING_NOTE, "writing",
                    "through the page cache, a few MiB at a time%s: %s",
                    has_dontcache(fd) ? " (RWF_DONTCACHE)" : "",
                    strcmp(doctor->io, "auto") == 0
                        ? "direct I/O is not supported there"
                        : "as configured");
        break;
    default:
        doctor_find(doctor, FINDING_NOTE, "writing",
                    "through the page cache, as configured");
    }
}

static void predict(struct doctor *doctor,
                    const struct xensave_io_state *state)
{
    static const char *const hows[] = {
        [XENSAVE_IO_DIRECT] = "bypassing the page cache",
        [XENSAVE_IO_WINDOW] = "with at most 64 MiB of the page cache",
        [XENSAVE_IO_BUFFERED] = "through the page cache",
    };
    const char *format = strcmp(doctor->format, "auto") == 0 ? "v3"
                                                             : doctor->format;

    if (doctor_is_bad(doctor))
        doctor->outlook = xasprintf("A save to %s falls back to plain xl or "
                                    "fails; see BAD above.",
                                    doctor->directory);
    else
        doctor->outlook = xasprintf(
            "A save to %s writes %s, %s, and is on stable storage when it "
            "returns.",
            doctor->directory, format, hows[state->io]);
}

void doctor_directory(struct doctor *doctor)
{
    struct xensave_io_state state = { .io = XENSAVE_IO_BUFFERED };
    int fd;

    check_kernel(doctor);
    fd = open_nameless(doctor->directory);
    if (fd < 0) {
        doctor_find(doctor, FINDING_BAD, "directory",
                    "cannot create a file in %s: %s", doctor->directory,
                    strerror(errno));
    } else {
        check_space(doctor, fd);
        check_alignment(doctor, fd);
        if (!write_sample(doctor, fd, &state))
            judge_io(doctor, fd, &state);
        close(fd);
    }
    predict(doctor, &state);
}
