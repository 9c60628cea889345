/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the writers of the two formats share. */
#ifndef XENSAVE_CORE_WRITE_H
#define XENSAVE_CORE_WRITE_H

#include "core.h"
#include "stream-v3/codec/record.h"
#include "stream-v3/io/io.h"

struct core_writer {
    struct xensave_sink *sink;
    const struct core_domain *domain;
    struct core_memory *memory;
    const struct core_options *options;
    struct core_result *result;
    struct xensave_error *error;
    uint64_t pending_zeros; /* bytes, not yet given to the sink */
    uint64_t progress_at;   /* pages */
    struct core_batch batch;
};

struct core_format_ops {
    enum core_format format;
    uint64_t (*size)(const struct core_domain *domain);
    int (*write)(struct core_writer *writer);
};

extern const struct core_format_ops core_xen, core_elf;

int core_put(struct core_writer *writer, const void *data, size_t length);
int core_put_zeros(struct core_writer *writer, uint64_t length);
/*
 * Writes all pages of the memory, `limit` at most; those beyond count as
 * lost.  `noted` hears of each that is written: its number, its place in the
 * batch, and its contents or NULL.
 */
int core_put_pages(struct core_writer *writer, uint64_t limit,
                   int (*noted)(struct core_writer *writer, void *context,
                                uint64_t number, uint32_t index,
                                const void *page),
                   void *context);
/* The zeros that are pending go out; then nothing but the end may come. */
int core_finish(struct core_writer *writer);

/* core_notes.c: the notes of an ELF core, at most so many bytes a vCPU. */
#define CORE_NOTES_PER_VCPU 1024U
/* Appends to `data` and returns the new length. */
size_t core_elf_notes(const struct core_domain *domain, const void *vmcoreinfo,
                      size_t vmcoreinfo_length, uint8_t *data);

#endif /* XENSAVE_CORE_WRITE_H */
