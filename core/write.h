/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the writers of the two formats share. */
#ifndef STREAM_V3_CORE_WRITE_H
#define STREAM_V3_CORE_WRITE_H

#include "core.h"
#include "stream-v3/internal.h"

struct v3_core_writer {
    struct v3_sink *sink;
    const struct v3_core_domain *domain;
    struct v3_core_memory *memory;
    const struct v3_core_options *options;
    struct v3_core_result *result;
    struct v3_error *error;
    uint64_t pending_zeros;     /* octets, not yet given to the sink */
    uint64_t progress_at;       /* pages */
    struct v3_core_batch batch;
};

struct v3_core_format_ops {
    enum v3_core_format format;
    uint64_t (*size)(const struct v3_core_domain *domain);
    int (*write)(struct v3_core_writer *writer);
};

extern const struct v3_core_format_ops v3_core_xen, v3_core_elf;

int v3_core_put(struct v3_core_writer *writer, const void *data,
                size_t length);
int v3_core_put_zeros(struct v3_core_writer *writer, uint64_t length);
/*
 * Writes all pages of the memory, `limit` at most; those beyond count as
 * lost.  `noted` hears of each that is written: its number, its place in the
 * batch, and its contents or NULL.
 */
int v3_core_put_pages(struct v3_core_writer *writer, uint64_t limit,
                      int (*noted)(struct v3_core_writer *writer,
                                   void *context, uint64_t number,
                                   uint32_t index, const void *page),
                      void *context);
/* The zeros that are pending go out; then nothing but the end may come. */
int v3_core_finish(struct v3_core_writer *writer);

/* core_notes.c: the notes of an ELF core, at most so many octets a vCPU. */
#define V3_CORE_NOTES_PER_VCPU  1024U
/* Appends to `data` and returns the new length. */
size_t v3_core_elf_notes(const struct v3_core_domain *domain,
                         const void *vmcoreinfo, size_t vmcoreinfo_length,
                         uint8_t *data);

#endif /* STREAM_V3_CORE_WRITE_H */
