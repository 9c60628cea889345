/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stands in for libxl-save-helper: its stream comes from a file and goes to
 * one (FAKE_STREAM, FAKE_RESTORED), through the real libxenctrl and in the
 * pieces in which libxenguest moves it.  Also notes its environment.
 */
#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "xensave-format.h"

/* libxenctrl exports these and has no public header for them. */
int read_exact(int fd, void *data, size_t size);
int write_exact(int fd, const void *data, size_t size);
int writev_exact(int fd, const struct iovec *iov, int iovcnt);

extern char **environ;

static int io_fd, unwriteable_fd;

static void give_up(int signum)
{
    (void)signum;
    if (dup2(unwriteable_fd, io_fd) != io_fd)
        abort();
}

static void note_environment(void)
{
    char path[PATH_MAX], line[512];
    FILE *out, *maps;
    size_t i;

    snprintf(path, sizeof(path), "%s/helper-env-%d", getenv("FAKE_DIR"),
             io_fd);
    out = fopen(path, "w");
    maps = fopen("/proc/self/maps", "r");
    assert(out && maps);
    for (i = 0; environ[i]; i++)
        fprintf(out, "%s\n", environ[i]);
    while (fgets(line, sizeof(line), maps)) {
        if (strstr(line, "libxl-aligned-stream.so")) {
            fputs("LOADED=yes\n", out);
            break;
        }
    }
    fclose(maps);
    fclose(out);
}

static char *read_file(const char *path, size_t *length)
{
    int fd = open(path, O_RDONLY);
    struct stat st;
    char *data;

    if (fd < 0 || fstat(fd, &st))
        return NULL;
    data = malloc(st.st_size);
    *length = read(fd, data, st.st_size);
    close(fd);
    return data;
}

static size_t record_length(const struct xensave_v2_record_header *record)
{
    return sizeof(*record) + ((record->length + 7) & ~(size_t)7);
}

/* One entry for the headers, one for each page. */
static int write_page_data(const char *record, size_t length)
{
    const struct xensave_v2_page_data_header *header = (const void *)(record +
                                                                      8);
    size_t head = 16 + 8 * (size_t)header->count, n = 0;
    static struct iovec iov[1100];

    /* Not one that Xen writes. */
    if (head > length || (length - head) % XENSAVE_V2_PAGE_SIZE)
        return write_exact(io_fd, record, length);
    iov[n++] = (struct iovec){ (void *)record, head };
    for (; head < length; head += XENSAVE_V2_PAGE_SIZE) {
        iov[n++] = (struct iovec){ (void *)(record + head),
                                   XENSAVE_V2_PAGE_SIZE };
        assert(n <= 1100);
    }
    return writev_exact(io_fd, iov, n);
}

/*
 * FAKE_PAUSE: after this many records, say so (a dot) and wait for a signal,
 * or for
 * FAKE_PAUSE_SECONDS.
 */
static void maybe_pause(unsigned record)
{
    const char *at = getenv("FAKE_PAUSE");
    const char *seconds = getenv("FAKE_PAUSE_SECONDS");
    char path[PATH_MAX];
    int fd;

    if (!at || strtoul(at, NULL, 0) != record)
        return;
    snprintf(path, sizeof(path), "%s/paused", getenv("FAKE_DIR"));
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (write(fd, ".", 1) != 1)
        abort();
    close(fd);
    sleep(seconds ? strtoul(seconds, NULL, 0) : 30);
}

static int save(void)
{
    size_t length, offset = 40;
    char *data = read_file(getenv("FAKE_STREAM"), &length);
    const struct xensave_v2_record_header *record;
    unsigned records = 0;
    int r;

    assert(data);
    if (write_exact(io_fd, data, 24) || write_exact(io_fd, data + 24, 16))
        return -1;
    for (; offset < length; offset += record_length(record)) {
        maybe_pause(records++);
        record = (const void *)(data + offset);
        if (record->type == XENSAVE_V2_RECORD_PAGE_DATA)
            r = write_page_data(data + offset, record_length(record));
        else
            r = write_exact(io_fd, data + offset, record_length(record));
        if (r)
            return r;
    }
    return 0;
}

static int take(FILE *out, void *data, size_t length)
{
    if (read_exact(io_fd, data, length))
        return -1;
    return fwrite(data, 1, length, out) == length ? 0 : -1;
}

static int restore(void)
{
    FILE *out = fopen(getenv("FAKE_RESTORED"), "w");
    struct xensave_v2_record_header record;
    static char body[XENSAVE_V2_RECORD_MAX];
    unsigned records = 0;
    char head[40];

    assert(out);
    if (take(out, head, 24) || take(out, head, 16))
        return -1;
    do {
        maybe_pause(records++);
        if (take(out, &record, sizeof(record)) ||
            take(out, body, record_length(&record) - sizeof(record)))
            return -1;
        /* As libxenguest, which knows Xen's own records only. */
        if (record.type >= 0x14 &&
            !(record.type & XENSAVE_V2_RECORD_OPTIONAL)) {
            fprintf(stderr, "Mandatory record 0x%08x not handled\n",
                    record.type);
            return -1;
        }
    } while (record.type != XENSAVE_V2_RECORD_END);
    return fclose(out);
}

int main(int argc, char **argv)
{
    struct sigaction action = { .sa_handler = give_up };
    int is_save, r;

    assert(argc > 3);
    is_save = !strcmp(argv[1], "--save-domain");
    assert(argc == (is_save ? 8 : 11));
    io_fd = atoi(argv[2]);
    note_environment();
    if (is_save) {
        unwriteable_fd = open("/dev/null", O_RDONLY);
        sigaction(SIGTERM, &action, NULL);
    }
    r = is_save ? save() : restore();
    if (r)
        perror(is_save ? "helper: save" : "helper: restore");
    return r ? 1 : 0;
}
