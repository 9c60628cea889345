/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fault injection: the n-th call of one function fails, for every n that a
 * save or a restore of a small stream reaches.  Whatever fails, the result is
 * an error with a text and a file that is refused, or a file that is right;
 * no descriptor is left behind (memory is the sanitizers' business).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include <liburing.h>
#include <zstd.h>

#include "synthetic.h"

#define MIB (1UL << 20)

/* ---- the fault ---------------------------------------------------------- */

enum fault {
    FAULT_NONE,
    FAULT_PWRITE,
    FAULT_PWRITEV2,
    FAULT_PREAD,
    FAULT_READ,
    FAULT_FSYNC,
    FAULT_FDATASYNC,
    FAULT_SYNC_RANGE,
    FAULT_FTRUNCATE,
    FAULT_LSEEK,
    FAULT_OPEN,
    FAULT_MMAP,
    FAULT_MALLOC,
    FAULT_CALLOC,
    FAULT_REALLOC,
    FAULT_POSIX_MEMALIGN,
    FAULT_URING_INIT,
    FAULT_URING_SUBMIT,
    FAULT_SHORT_PWRITE,
    FAULT_SHORT_PREAD,
    FAULT_THREAD,
    FAULT_ZSTD_CCTX,
    FAULT_ZSTD_DCTX,
    FAULT_ZSTD_COMPRESS,
    FAULTS,
};

static struct {
    enum fault fault;
    int countdown;
    bool armed, hit;
    bool always; /* from the n-th call on */
    int errnum;
} injected;

/* What a restore asks for in pieces of more than 1 MiB, freed or not. */
static size_t large;
/* A disk that cannot be read from there on, and how often that was tried. */
static off_t bad_from;
static int bad_reads;
static long cpus; /* that are pretended; 0: as many as there are */

static bool strikes(enum fault fault)
{
    int left;

    if (!injected.armed || injected.fault != fault)
        return false;
    /* Threads of the engine call in as well. */
    left = __atomic_sub_fetch(&injected.countdown, 1, __ATOMIC_SEQ_CST);

    if (left > 0 || (left < 0 && !injected.always))
        return false;
    injected.hit = true;
    errno = injected.errnum;
    return true;
}

#define WRAP(fault, type, failure, name, parameters, arguments) \
    type __real_##name parameters;                              \
    type __wrap_##name parameters;                              \
    type __wrap_##name parameters                               \
    {                                                           \
        if (strikes(fault))                                     \
            return failure;                                     \
        return __real_##name arguments;                         \
    }

WRAP(FAULT_READ, ssize_t, -1, read, (int fd, void *data, size_t length),
     (fd, data, length))
WRAP(FAULT_PWRITEV2, ssize_t, -1, pwritev2,
     (int fd, const struct iovec *iov, int count, off_t at, int flags),
     (fd, iov, count, at, flags))
WRAP(FAULT_FSYNC, int, -1, fsync, (int fd), (fd))
WRAP(FAULT_FDATASYNC, int, -1, fdatasync, (int fd), (fd))
WRAP(FAULT_SYNC_RANGE, int, -1, sync_file_range,
     (int fd, off_t from, off_t length, unsigned flags),
     (fd, from, length, flags))
WRAP(FAULT_FTRUNCATE, int, -1, ftruncate, (int fd, off_t length), (fd, length))
WRAP(FAULT_LSEEK, off_t, -1, lseek, (int fd, off_t at, int whence),
     (fd, at, whence))
WRAP(FAULT_MMAP, void *, MAP_FAILED, mmap,
     (void *at, size_t length, int protection, int flags, int fd, off_t off),
     (at, length, protection, flags, fd, off))
WRAP(FAULT_CALLOC, void *, NULL, calloc, (size_t count, size_t size),
     (count, size))
WRAP(FAULT_REALLOC, void *, NULL, realloc, (void *old, size_t size),
     (old, size))
WRAP(FAULT_POSIX_MEMALIGN, int, ENOMEM, posix_memalign,
     (void **result, size_t alignment, size_t size), (result, alignment, size))
WRAP(FAULT_URING_INIT, int, -injected.errnum, io_uring_queue_init,
     (unsigned entries, struct io_uring *ring, unsigned flags),
     (entries, ring, flags))
WRAP(FAULT_URING_SUBMIT, int, -injected.errnum, io_uring_submit,
     (struct io_uring * ring), (ring))

WRAP(FAULT_THREAD, int, EAGAIN, pthread_create,
     (pthread_t * thread, const pthread_attr_t *attributes,
      void *(*start)(void *), void *argument),
     (thread, attributes, start, argument))

WRAP(FAULT_ZSTD_CCTX, ZSTD_CCtx *, NULL, ZSTD_createCCtx, (void), ())
WRAP(FAULT_ZSTD_DCTX, ZSTD_DCtx *, NULL, ZSTD_createDCtx, (void), ())
WRAP(FAULT_ZSTD_COMPRESS, size_t, -64UL, ZSTD_compress2,
     (ZSTD_CCtx * context, void *to, size_t room, const void *from,
      size_t length),
     (context, to, room, from, length))

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    if (size > 1 << 20)
        __atomic_add_fetch(&large, size, __ATOMIC_SEQ_CST);
    return strikes(FAULT_MALLOC) ? NULL : __real_malloc(size);
}

long __real_sysconf(int name);
long __wrap_sysconf(int name);
long __wrap_sysconf(int name)
{
    return cpus && name == _SC_NPROCESSORS_ONLN ? cpus : __real_sysconf(name);
}

ssize_t __real_pwrite(int fd, const void *data, size_t length, off_t at);
ssize_t __wrap_pwrite(int fd, const void *data, size_t length, off_t at);
ssize_t __wrap_pwrite(int fd, const void *data, size_t length, off_t at)
{
    if (strikes(FAULT_PWRITE))
        return -1;
    if (length > 4096 && strikes(FAULT_SHORT_PWRITE))
        length = length / 2 / 4096 * 4096;
    return __real_pwrite(fd, data, length, at);
}

ssize_t __real_pread(int fd, void *data, size_t length, off_t at);
ssize_t __wrap_pread(int fd, void *data, size_t length, off_t at);
ssize_t __wrap_pread(int fd, void *data, size_t length, off_t at)
{
    if (strikes(FAULT_PREAD))
        return -1;
    if (bad_from && at + (off_t)length > bad_from) {
        __atomic_add_fetch(&bad_reads, 1, __ATOMIC_SEQ_CST);
        errno = EIO;
        return -1;
    }
    if (length > 4096 && strikes(FAULT_SHORT_PREAD))
        length = length / 2 / 4096 * 4096;
    return __real_pread(fd, data, length, at);
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    if (strikes(FAULT_OPEN))
        return -1;
    return __real_open(path, flags, 0600);
}

/* ---- what is run -------------------------------------------------------- */

static struct bytes v2;
static enum xensave_format format = XENSAVE_FORMAT_V3;
static struct xensave_compression compression;
static off_t tail; /* bytes behind END */

static int descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;

    assert_non_null(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* Everything between the head and the commit; the error's text, or "". */
static const char *save(int fd, const struct xensave_io_options *io)
{
    static struct xensave_error error;
    struct xensave_encoder_options options = {
        .size = sizeof(struct xensave_encoder_options),
        .format = format,
        .compression = compression,
        .threads = 2,
    };
    struct xensave_encoder *encoder = NULL;
    struct xensave_file savefile;
    struct xensave_sink *sink;

    memset(&error, 0, sizeof(error));
    sink = xensave_sink_open_file(fd, io, &error);
    if (!sink)
        return error.text[0] ? error.text : "(no text)";
    encoder = xensave_encoder_new(sink, &options);
    if (encoder && !xensave_encoder_push(encoder, v2.data, v2.length) &&
        (!tail || !ftruncate(fd, xensave_sink_offset(sink) + tail)) &&
        !xensave_file_probe(fd, UINT64_MAX, &savefile, &error))
        xensave_file_commit(fd, &savefile, xensave_sink_offset(sink) + tail,
                            &error);
    if (!encoder && !error.text[0])
        strcpy(error.text, "(no text)");
    xensave_encoder_free(encoder);
    xensave_sink_free(sink);
    return error.text;
}

/* To END, from where the stream starts; "": the bytes were right. */
static const char *read_stream(int fd, const struct xensave_io_options *io)
{
    static struct xensave_error error;
    struct xensave_decoder *decoder = NULL;
    struct xensave_source *source;
    static uint8_t *out;
    ssize_t r = -1;

    if (!out)
        out = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    source = xensave_source_open_file(fd, io, &error);
    if (!source)
        return error.text[0] ? error.text : "(no text)";
    decoder = xensave_decoder_new(source);
    if (decoder)
        r = xensave_decoder_read(decoder, out, v2.length);
    if (decoder && !r)
        assert_memory_equal(out, v2.data, v2.length);
    else if (!error.text[0])
        strcpy(error.text, "(no text)");
    xensave_decoder_free(decoder);
    xensave_source_free(source);
    return error.text;
}

/* From the probe on. */
static const char *restore(int fd, const struct xensave_io_options *io)
{
    static struct xensave_error error;
    struct xensave_file savefile;

    if (xensave_file_probe(fd, UINT64_MAX, &savefile, &error) ||
        xensave_file_check(fd, &savefile, &error))
        return error.text;
    if (lseek(fd, savefile.stream_start, SEEK_SET) < 0)
        return "lseek of the test";
    return read_stream(fd, io);
}

static void arm(enum fault fault, int n, int errnum)
{
    injected.fault = fault;
    injected.countdown = n;
    injected.errnum = errnum;
    injected.hit = false;
    injected.armed = true;
}

static int new_file(void)
{
    struct bytes head = synthetic_head(333);
    int fd = scratch_file();

    assert_int_equal(write(fd, head.data, head.length), head.length);
    free(head.data);
    return fd;
}

static const struct xensave_io_options manners[] = {
    { .size = sizeof(struct xensave_io_options),
      .io = XENSAVE_IO_AUTO,
      .engine = XENSAVE_ENGINE_AUTO,
      .buffer_size = 65536 },
    { .size = sizeof(struct xensave_io_options),
      .io = XENSAVE_IO_AUTO,
      .engine = XENSAVE_ENGINE_THREAD,
      .buffer_size = 65536 },
    { .size = sizeof(struct xensave_io_options),
      .io = XENSAVE_IO_WINDOW,
      .buffer_size = 65536 },
    { .size = sizeof(struct xensave_io_options),
      .io = XENSAVE_IO_BUFFERED,
      .buffer_size = 65536 },
};

static int survivals, refusals;

/* False once the fault is beyond what the save does. */
static bool fail_save(enum fault fault, int n,
                      const struct xensave_io_options *io)
{
    int before = descriptors(), fd = new_file();
    const char *text;

    arm(fault, n, fault == FAULT_PWRITE ? ENOSPC : EIO);
    text = save(fd, io);
    injected.armed = false;
    if (strstr(text, "(no text)"))
        fail_msg("fault %d, call %d: an error without a text", fault, n);
    if (text[0])
        assert_true(restore(fd, &manners[3])[0]);
    else
        assert_string_equal(restore(fd, &manners[3]), "");
    /* The kernel reports it only once. */
    if (injected.hit && (fault == FAULT_SYNC_RANGE ||
                         fault == FAULT_FDATASYNC || fault == FAULT_FSYNC))
        assert_string_not_equal(text, "");
    if (injected.hit)
        text[0] ? refusals++ : survivals++;
    close(fd);
    assert_int_equal(descriptors(), before);
    return injected.hit;
}

static bool fail_restore(enum fault fault, int n, int fd,
                         const struct xensave_io_options *io)
{
    int before = descriptors();
    const char *text;

    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    arm(fault, n, EIO);
    text = restore(fd, io);
    injected.armed = false;
    if (strstr(text, "(no text)"))
        fail_msg("fault %d, call %d: an error without a text", fault, n);
    if (injected.hit)
        text[0] ? refusals++ : survivals++;
    else
        assert_string_equal(text, "");
    assert_int_equal(descriptors(), before);
    return injected.hit;
}

static void every_call_of_a_save(void **state)
{
    (void)state;
    survivals = refusals = 0;
    for (size_t i = 0; i < sizeof(manners) / sizeof(manners[0]); i++)
        for (int fault = FAULT_PWRITE; fault < FAULTS; fault++)
            for (int n = 1; fail_save(fault, n, &manners[i]); n++)
                ;
    print_message("save: %d faults refused, %d survived\n", refusals,
                  survivals);
    assert_true(refusals > 100);
}

static void every_call_of_a_restore(void **state)
{
    int fd = new_file();

    (void)state;
    assert_string_equal(save(fd, &manners[0]), "");
    survivals = refusals = 0;
    for (size_t i = 0; i < sizeof(manners) / sizeof(manners[0]); i++)
        for (int fault = FAULT_PWRITE; fault < FAULTS; fault++)
            for (int n = 1; fail_restore(fault, n, fd, &manners[i]); n++)
                ;
    close(fd);
    print_message("restore: %d faults refused, %d survived\n", refusals,
                  survivals);
    assert_true(refusals > 100);
}

/* One manner of I/O: what is new here is in memory and in threads. */
static void compressed_with(enum xensave_codec codec)
{
    int fd = new_file();

    free(v2.data);
    v2 = synthetic_stream(PAGES_TEXT, 6, 128, 3);
    compression.codec = codec;
    compression.all = true;
    assert_string_equal(save(fd, &manners[3]), "");
    survivals = refusals = 0;
    for (int fault = FAULT_PWRITE; fault < FAULTS; fault++) {
        for (int n = 1; fail_save(fault, n, &manners[3]); n++)
            ;
        for (int n = 1; fail_restore(fault, n, fd, &manners[3]); n++)
            ;
    }
    print_message("%s: %d faults refused, %d survived\n",
                  xensave_codec_name(codec), refusals, survivals);
    assert_true(refusals > 30 && survivals > 3);
    close(fd);
}

static void every_call_with_lz4(void **state)
{
    (void)state;
    compressed_with(XENSAVE_CODEC_LZ4);
}

static void every_call_with_zstd(void **state)
{
    (void)state;
    compressed_with(XENSAVE_CODEC_ZSTD);
}

/* A saved stream that compresses; descriptor of its file. */
static int compressed_file(unsigned batches, unsigned count)
{
    int fd = new_file();

    free(v2.data);
    v2 = synthetic_stream(PAGES_TEXT, batches, count, 3);
    compression.codec = XENSAVE_CODEC_LZ4;
    compression.all = true;
    assert_string_equal(save(fd, &manners[3]), "");
    return fd;
}

static void no_thread_decompresses(void **state)
{
    int fd = compressed_file(20, 64);

    (void)state;
    cpus = 4;
    injected.always = true;
    for (int first = 1; first <= 4; first++) {
        arm(FAULT_THREAD, first, EAGAIN);
        assert_string_equal(restore(fd, &manners[3]), "");
        injected.armed = false;
        assert_true(injected.hit);
    }
    injected.always = false;
    cpus = 0;
    close(fd);
}

/* As xensave.h says it, whatever the stream holds. */
static void memory_to_decompress_is_bounded(void **state)
{
    int fd = compressed_file(64, 16);
    size_t alone;

    (void)state;
    cpus = 1;
    large = 0;
    assert_string_equal(restore(fd, &manners[3]), "");
    alone = large;
    for (cpus = 2; cpus <= 64; cpus *= 2) {
        large = 0;
        assert_string_equal(restore(fd, &manners[3]), "");
        assert_true(large > alone);
        assert_true(large <= alone + (8 * (cpus < 4 ? cpus : 4) + 16) * MIB);
    }
    cpus = 0;
    close(fd);
}

/* Behind END there may be a bad sector, or another's bytes. */
static void what_is_behind_the_end_is_not_needed(void **state)
{
    struct xensave_file savefile;
    struct xensave_error error;
    int fd;

    (void)state;
    compression.codec = XENSAVE_CODEC_NONE;
    tail = 3 << 20;
    for (format = XENSAVE_FORMAT_V2; format <= XENSAVE_FORMAT_V3; format++)
        for (size_t i = 0; i < 4; i++) {
            if (format == XENSAVE_FORMAT_COMPAT)
                continue;
            fd = new_file();
            assert_string_equal(save(fd, &manners[i]), "");
            assert_int_equal(xensave_file_probe(fd, UINT64_MAX, &savefile,
                                                &error),
                             0);
            posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
            lseek(fd, savefile.stream_start, SEEK_SET);
            bad_from = (savefile.file_size - tail + 4095) & -4096;
            bad_reads = 0;
            assert_string_equal(read_stream(fd, &manners[i]), "");
            /* Only a v2 stream does not say where it ends. */
            if (format == XENSAVE_FORMAT_V3)
                assert_int_equal(bad_reads, 0);
            bad_from = 0;
            close(fd);
        }
    format = XENSAVE_FORMAT_V3;
    tail = 0;
}

static int make_stream(void **state)
{
    (void)state;
    v2 = synthetic_stream(PAGES_ALTERNATING, 6, 128, 3);
    return 0;
}

static int free_stream(void **state)
{
    (void)state;
    free(v2.data);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_of_a_save),
        cmocka_unit_test(every_call_of_a_restore),
        cmocka_unit_test(every_call_with_lz4),
        cmocka_unit_test(every_call_with_zstd),
        cmocka_unit_test(no_thread_decompresses),
        cmocka_unit_test(memory_to_decompress_is_bounded),
        cmocka_unit_test(what_is_behind_the_end_is_not_needed),
    };

    return cmocka_run_group_tests(tests, make_stream, free_stream);
}
