/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the fuzz targets share. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xensave.h"

/* libFuzzer's own names. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
                               unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

/* Says what does not hold and ends the run with a reproducer. */
void fuzz_fail(const char *what, const struct xensave_error *error)
    __attribute__((noreturn));
#define FUZZ_ASSERT(condition, error) \
    ((condition) ? (void)0 : fuzz_fail(#condition, error))
/* An error has a number and one line of text. */
void fuzz_assert_error(const struct xensave_error *error);

/* ---- bytes before the input itself ------------------------------------- */

struct fuzz_control {
    uint8_t start; /* offset of the stream in its file */
    uint8_t flags;
    uint16_t number;
    uint32_t chunks; /* seed of the chunk sizes; 0: all at once */
};

/* Takes it from the input; false if the input is too short. */
bool fuzz_control(struct fuzz_control *control, const uint8_t **data,
                  size_t *size);

/* ---- chunks, and other chance ------------------------------------------- */

struct fuzz_random {
    uint64_t state;
};

struct fuzz_random fuzz_random(uint64_t seed);
uint32_t fuzz_below(struct fuzz_random *random, uint32_t bound);
size_t fuzz_chunk(struct fuzz_random *random, size_t left);

/* ---- records of a stream in memory (records.c) -------------------------- */

struct fuzz_record {
    size_t offset;
    uint32_t type, length;
    size_t bytes; /* header and padding included */
};

#define FUZZ_HEADERS                          \
    (sizeof(struct xensave_v2_image_header) + \
     sizeof(struct xensave_v2_domain_header))

/* Those that are whole, up to END; `start` is that of the image header. */
size_t fuzz_records(const uint8_t *data, size_t size, size_t start,
                    struct fuzz_record *records, size_t max);

/* ---- checksums made right again (seal.c) -------------------------------- */

struct fuzz_seal {
    uint8_t *data;
    size_t size;
    size_t start;    /* of the stream in `data` */
    uint64_t offset; /* file offset of the stream */
    bool totals;     /* counts too */
    bool file;       /* `data` is a save file: head and tail too */
};

void fuzz_seal(const struct fuzz_seal *seal);
/* A v3 stream as it came out of a memory sink becomes a STREAMED one. */
void fuzz_make_streamed(uint8_t *stream, size_t size);

/* ---- structural mutations (mutate.c) ------------------------------------ */

/* Changes the stream that starts at `start`; the new size. */
size_t fuzz_mutate(uint8_t *data, size_t size, size_t max, size_t start,
                   struct fuzz_random *random);

/* ---- files (file.c) ----------------------------------------------------- */

/* A file of these bytes, the same descriptor each time; offset 0. */
int fuzz_file(const uint8_t *data, size_t size);
/* The same in memory alone (memory.c): for what is linked with FUZZ_MEMORY. */
int fuzz_memory(const uint8_t *data, size_t size);
/* Where the stream of a save file starts; false if that is not to be seen. */
bool fuzz_find_stream(const uint8_t *data, size_t size, size_t *start);
/* A mutator of save files, behind `control` bytes. */
size_t fuzz_mutate_file(uint8_t *data, size_t size, size_t max, size_t control,
                        struct fuzz_random *random);

/* ---- the library, over memory (codec.c) --------------------------------- */

struct fuzz_bytes {
    uint8_t *data;
    size_t length, room;
};

enum fuzz_result {
    FUZZ_REFUSED,
    FUZZ_ENDED,
    FUZZ_CUT, /* more than `limit` bytes came */
};

struct fuzz_decoded {
    struct fuzz_bytes v2; /* its memory is used again */
    struct xensave_error error;
    enum xensave_format format;
    uint64_t consumed; /* bytes of the stream */
};

/* `decoded` is static, zeros at first. */
enum fuzz_result fuzz_decode(const uint8_t *stream, size_t size,
                             uint64_t start, uint32_t chunks, size_t limit,
                             struct fuzz_decoded *decoded);
/* Ends the run if bytes from offset `start` on do not decode to `v2`. */
void fuzz_assert_decodes(const struct fuzz_bytes *stream, uint64_t start,
                         const uint8_t *v2, size_t size);
/*
 * True if END came; `out` is then what was written (free() the data).  After
 * an error `error` says which.
 */
bool fuzz_encode(const uint8_t *v2, size_t size, uint64_t start,
                 const struct xensave_encoder_options *options,
                 uint32_t chunks, struct fuzz_bytes *out,
                 struct xensave_error *error);

#endif /* FUZZ_H */
