/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A saved domain on its way to a core. */
#ifndef STREAM_V3_CORE_SAVED_H
#define STREAM_V3_CORE_SAVED_H

#include "core.h"
#include "internal.h"

/* Where the contents of a pfn are. */
struct v3_core_place {
    uint64_t pfn;
    uint64_t offset;        /* in the file, or that below */
    uint32_t type;          /* PFINFO */
};
#define V3_CORE_PLACE_ZERO  UINT64_MAX

struct v3_core_places {
    struct v3_core_place *place;
    uint64_t count, allocated;
};

/* core_reader.c: pages of a file, past the page cache if possible. */
struct v3_core_reader {
    int fd;
    uint32_t alignment;     /* 0: through the page cache, and out of it */
};

int v3_core_reader_open(struct v3_core_reader *reader, int fd,
                        struct v3_error *error);
void v3_core_reader_close(struct v3_core_reader *reader);
/* Room that a read of `length` octets needs. */
size_t v3_core_reader_room(const struct v3_core_reader *reader,
                           uint64_t offset, size_t length);
/*
 * Reads into `room`, aligned like the reader; the octets asked for are at
 * the address returned, NULL on error.
 */
uint8_t *v3_core_reader_read(struct v3_core_reader *reader, uint8_t *room,
                             uint64_t offset, size_t length,
                             struct v3_error *error);

/* core_places.c: every pfn of the stream, ascending, each once. */
int v3_core_places_find(struct v3_core_places *places, int fd,
                        const struct v3_savefile *savefile,
                        struct v3_error *error);
/* NULL if the pfn has no contents. */
const struct v3_core_place *v3_core_places_look_up(
    const struct v3_core_places *places, uint64_t pfn);

/* core_collect.c: what the records say of the domain. */
struct v3_core_collected {
    struct v3_core_domain domain;
    bool has_pv_info;
    uint64_t *p2m_pfn;      /* PV: pfns of the guest's own table */
    uint64_t p2m_pfns;
    uint64_t p2m_first;     /* pfn that the first is for */
    uint8_t vmcoreinfo[V2_PAGE_SIZE];
    uint8_t shared_info[V2_PAGE_SIZE];
};

/* Reads the whole stream and verifies it. */
int v3_core_collect(struct v3_core_collected *collected, int fd,
                    const struct v3_savefile *savefile,
                    struct v3_error *error);
void v3_core_collected_free(struct v3_core_collected *collected);

#endif /* STREAM_V3_CORE_SAVED_H */
