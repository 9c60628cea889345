/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the size of a frame costs: for each codec and size, the ratio, CPU
 * seconds per GiB to compress, and the time to decompress one frame.
 *
 *     build/tests/bench/frames FILE...
 *
 * The files stand for memory: their pages, whole ones, without those of zeros.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "stream-v3/codec/codec.h"
#include "stream-v3/codec/page.h"

#define BATCH ((size_t)XENSAVE_BATCH_MAX * XENSAVE_V2_PAGE_SIZE)
#define MOST  (256UL << 20)

static double cpu_seconds(void)
{
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static size_t load(char **paths, int count, uint8_t *to)
{
    size_t length = 0;

    for (int i = 0; i < count; i++) {
        FILE *file = fopen(paths[i], "rb");

        while (file && length < MOST &&
               fread(to + length, XENSAVE_V2_PAGE_SIZE, 1, file) == 1)
            if (!xensave_page_is_zero(to + length))
                length += XENSAVE_V2_PAGE_SIZE;
        if (file)
            fclose(file);
    }
    return length / BATCH * BATCH;
}

static void measure(enum xensave_codec codec, int level, size_t frame,
                    const uint8_t *from, size_t length)
{
    const struct xensave_codec_ops *ops = xensave_codec_find(codec);
    void *pack = ops->pack_new(level), *unpack = ops->unpack_new();
    uint8_t *to = malloc(length), *back = malloc(frame);
    size_t frames = length / frame, *sizes = malloc(frames * sizeof(*sizes));
    size_t stored = 0, packed_frames = 0, at = 0;
    double begin = cpu_seconds(), encode, decode;

    for (size_t i = 0; i < frames; i++) {
        sizes[i] = ops->pack(pack, to + stored, frame - 1, from + i * frame,
                             frame);
        stored += sizes[i] ? sizes[i] : frame;
    }
    encode = cpu_seconds() - begin;
    begin = cpu_seconds();
    for (size_t i = 0; i < frames; at += sizes[i] ? sizes[i] : frame, i++) {
        packed_frames += !!sizes[i];
        if (sizes[i] && !ops->unpack(unpack, back, frame, to + at, sizes[i]))
            abort();
    }
    decode = cpu_seconds() - begin;
    printf("| %s:%d | %zu KiB | %.3f | %.2f | %.1f |\n",
           xensave_codec_name(codec), level, frame >> 10,
           (double)length / stored, encode / (length / 1073741824.0),
           packed_frames ? decode / packed_frames * 1e6 : 0);
    ops->pack_free(pack);
    ops->unpack_free(unpack);
    free(sizes);
    free(to);
    free(back);
}

int main(int argc, char **argv)
{
    static const size_t sizes[] = { 16, 32, 64, 128, 256, 4096 };
    static const struct {
        enum xensave_codec codec;
        int level;
    } codecs[] = { { XENSAVE_CODEC_LZ4, 1 },
                   { XENSAVE_CODEC_ZSTD, 1 },
                   { XENSAVE_CODEC_ZSTD, 3 } };
    uint8_t *memory = malloc(MOST + XENSAVE_V2_PAGE_SIZE);
    size_t length;

    if (!memory)
        return 1;
    length = load(argv + 1, argc - 1, memory);
    printf("%zu MiB of pages that are not zero\n\n"
           "| codec | frame | ratio | CPU s/GiB | us/frame to decode |\n"
           "|-------|-------|-------|-----------|--------------------|\n",
           length >> 20);
    for (size_t c = 0; c < ARRAY_SIZE(codecs); c++)
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
            measure(codecs[c].codec, codecs[c].level, sizes[i] << 10, memory,
                    length);
    free(memory);
    return 0;
}
