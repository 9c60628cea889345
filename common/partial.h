/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file that is either whole or not there: written as NAME.partial, renamed
 * to NAME at the end.  Devices, pipes and what /dev/stdout leads to are
 * written in place.  Each name is looked up once, below an open directory, so
 * that other users of the directory cannot redirect a privileged writer.
 *
 * Functions that return int return 0, or -1 with errno and `reason` set.
 * Nothing here prints.
 */
#ifndef COMMON_PARTIAL_H
#define COMMON_PARTIAL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#define PARTIAL_SUFFIX ".partial"
#define PARTIAL_PATH   (PATH_MAX + NAME_MAX + 1)

enum partial_contents {
    PARTIAL_FOREIGN,    /* not of this kind */
    PARTIAL_UNFINISHED, /* certainly of no use */
    PARTIAL_USABLE,     /* complete, or unknown */
};

/* What a command writes, and may therefore replace. */
struct partial_kind {
    const char *what; /* "save file"; NULL: it cannot be recognised */
    enum partial_contents (*look)(int fd);
    /* NULL, or fills `why` and returns false: this usable file must stay. */
    bool (*may_go)(int fd, void *context, char *why, size_t size);
    void *context;
    bool force; /* replace any regular file */
};

struct partial {
    int dirfd;
    int fd;         /* of NAME.partial: read-write, locked;
                             * in place: O_PATH */
    struct stat st; /* of what fd refers to */
    bool in_place;
    bool removed; /* an unfinished NAME.partial was in the way */
    char base[NAME_MAX + 1];
    char temporary[NAME_MAX + 1];
    char directory[PATH_MAX];
    char reason[PARTIAL_PATH + 256];
};

/* Before the first use, so that partial_close() may follow in any case. */
#define PARTIAL_INIT          \
    {                         \
        .dirfd = -1, .fd = -1 \
    }

/* Finds the place of `name`; says whether a file may be written there. */
int partial_look(struct partial *partial, const char *name,
                 const struct partial_kind *kind);
/* The same, and creates NAME.partial. */
int partial_open(struct partial *partial, const char *name,
                 const struct partial_kind *kind);
/*
 * For a file that the caller has created and opened: `path` is where
 * fd_read_name() found it.
 */
int partial_attach(struct partial *partial, int fd, const char *path);

/* Whether `base`, in the directory, is this file. */
bool partial_is(const struct partial *partial, const char *base);
/* "DIRECTORY/base" */
void partial_path(const struct partial *partial, const char *base,
                  char path[PARTIAL_PATH]);

/* Puts the file on stable storage and gives it its name. */
int partial_commit(struct partial *partial);
/* Gives a synchronised file its name.  After a failure the names are as
 * they were. */
int partial_rename(struct partial *partial);
/*
 * The same for an attached file; `name` is in the same directory.  If
 * partial_attach() has failed, this fails for the same reason.
 */
int partial_rename_to(struct partial *partial, const char *name);
/* Brings the names in the directory to stable storage. */
int partial_sync_directory(struct partial *partial);
/* Removes NAME.partial if it still is this file; whether it did. */
bool partial_discard(const struct partial *partial);
/*
 * A fatal signal that has its default action removes NAME.partial as well.
 * One file at a time; a second one is left alone.
 */
void partial_signals_begin(struct partial *partial);
void partial_signals_end(const struct partial *partial);
void partial_close(struct partial *partial);

#endif /* COMMON_PARTIAL_H */
