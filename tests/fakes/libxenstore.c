/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stands in for libxenstore and its daemon: a tree of directories below
 * FAKE_STORE, each value in a file ".value".  Without FAKE_STORE it cannot be
 * reached; while there is a file ".hang" in it, nothing is answered.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xenstore.h>

struct xs_handle {
    int lock;
    xs_transaction_t transaction;
};

static void place(char *to, const char *path, const char *file)
{
    if (snprintf(to, PATH_MAX, "%s%s%s", getenv("FAKE_STORE"), path, file) >=
        PATH_MAX)
        abort();
}

/* As with a daemon that does not answer. */
static void enter(struct xs_handle *h, xs_transaction_t t)
{
    char hang[PATH_MAX];

    place(hang, "", "/.hang");
    while (!access(hang, F_OK))
        usleep(20000);
    if (!t && flock(h->lock, LOCK_EX))
        abort();
}

static void leave(struct xs_handle *h, xs_transaction_t t)
{
    if (!t && flock(h->lock, LOCK_UN))
        abort();
}

struct xs_handle *xs_open(unsigned long flags)
{
    struct xs_handle *h;
    char path[PATH_MAX];

    (void)flags;
    if (!getenv("FAKE_STORE") || !*getenv("FAKE_STORE")) {
        errno = ENOENT;
        return NULL;
    }
    h = calloc(1, sizeof(*h));
    place(path, "", "/.lock");
    h->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (h->lock < 0) {
        free(h);
        return NULL;
    }
    return h;
}

void xs_close(struct xs_handle *h)
{
    close(h->lock);
    free(h);
}

char **xs_directory(struct xs_handle *h, xs_transaction_t t, const char *path,
                    unsigned int *num)
{
    char name[PATH_MAX], *text, **list = NULL;
    struct dirent *entry;
    DIR *directory;

    enter(h, t);
    place(name, path, "");
    *num = 0;
    directory = opendir(name);
    if (directory) {
        list = malloc(65536);
        text = (char *)(list + 1000);
        while ((entry = readdir(directory))) {
            if (entry->d_name[0] == '.')
                continue;
            list[(*num)++] = text;
            text = stpcpy(text, entry->d_name) + 1;
        }
        closedir(directory);
    }
    leave(h, t);
    return list;
}

void *xs_read(struct xs_handle *h, xs_transaction_t t, const char *path,
              unsigned int *len)
{
    char name[PATH_MAX], *value = NULL;
    struct stat st;
    int fd;

    enter(h, t);
    place(name, path, "/.value");
    fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && !fstat(fd, &st)) {
        value = calloc(1, st.st_size + 1);
        if (read(fd, value, st.st_size) != st.st_size)
            abort();
        *len = st.st_size;
    }
    if (fd >= 0)
        close(fd);
    leave(h, t);
    return value;
}

static bool make(const char *path)
{
    char name[PATH_MAX], *at;
    size_t root = strlen(getenv("FAKE_STORE"));

    place(name, path, "/");
    for (at = name + root + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        if (mkdir(name, 0700) && errno != EEXIST)
            return false;
        *at = '/';
    }
    return true;
}

bool xs_write(struct xs_handle *h, xs_transaction_t t, const char *path,
              const void *data, unsigned int len)
{
    char name[PATH_MAX];
    bool ok = false;
    int fd;

    enter(h, t);
    place(name, path, "/.value");
    if (make(path)) {
        fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        ok = fd >= 0 && write(fd, data, len) == (ssize_t)len;
        close(fd);
    }
    leave(h, t);
    return ok;
}

bool xs_mkdir(struct xs_handle *h, xs_transaction_t t, const char *path)
{
    bool ok;

    enter(h, t);
    ok = make(path);
    leave(h, t);
    return ok;
}

static void remove_tree(const char *name)
{
    char below[PATH_MAX];
    struct dirent *entry;
    DIR *directory = opendir(name);

    while (directory && (entry = readdir(directory))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        if (snprintf(below, sizeof(below), "%s/%s", name, entry->d_name) >=
            (int)sizeof(below))
            abort();
        if (unlink(below))
            remove_tree(below);
    }
    if (directory)
        closedir(directory);
    rmdir(name);
}

bool xs_rm(struct xs_handle *h, xs_transaction_t t, const char *path)
{
    char name[PATH_MAX];

    enter(h, t);
    place(name, path, "");
    remove_tree(name);
    leave(h, t);
    return true;
}

bool xs_set_permissions(struct xs_handle *h, xs_transaction_t t,
                        const char *path, struct xs_permissions *perms,
                        unsigned int num_perms)
{
    char name[PATH_MAX];
    unsigned int i;
    FILE *file;

    enter(h, t);
    place(name, path, "/.permissions");
    file = fopen(name, "w");
    for (i = 0; file && i < num_perms; i++)
        fprintf(file, "%s%u\n", perms[i].perms == XS_PERM_NONE ? "n" : "?",
                perms[i].id);
    leave(h, t);
    return file && !fclose(file);
}

xs_transaction_t xs_transaction_start(struct xs_handle *h)
{
    enter(h, 0);
    return 1;
}

bool xs_transaction_end(struct xs_handle *h, xs_transaction_t t, bool abandon)
{
    (void)t;
    (void)abandon; /* readers have written nothing by then */
    leave(h, 0);
    return true;
}
