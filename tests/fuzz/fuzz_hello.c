/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as the peer of a migration.  The exchange ends in one of its
 * four ways or wants more; it never wants more than a message, never agrees
 * on what it did not offer, and never fails without a line of text.
 */
#include <string.h>
#include <xxhash.h>

#include "fuzz.h"

#include "operation/hello.h"

#define FLAG_RECEIVER     1U
#define FLAG_FIRST        2U
#define FLAG_REFUSE_STOCK 4U
#define FLAG_SILENCE      8U
#define FLAG_END          16U
#define FLAG_KEEP_OUT     32U /* the peer does not read */

static void assert_sound(const struct hello *hello)
{
    const struct hello_offer *offer = &hello->offer;

    FUZZ_ASSERT(hello->out_length <= sizeof(hello->out), &hello->error);
    FUZZ_ASSERT(memchr(hello->peer, 0, sizeof(hello->peer)), &hello->error);
    /* common/text.h: printable UTF-8 stays as it is. */
    for (const uint8_t *at = (const uint8_t *)hello->peer; *at; at++)
        FUZZ_ASSERT(*at >= 0x20 && *at != 0x7f &&
                        !(*at == 0xc2 && at[1] < 0xa0),
                    &hello->error);
    if (hello->state == HELLO_REFUSED || hello->state == HELLO_FAILED)
        fuzz_assert_error(&hello->error);
    if (hello->state != HELLO_AGREED)
        return;
    FUZZ_ASSERT(!hello->error.text[0], &hello->error);
    FUZZ_ASSERT(hello->version >= offer->version_min &&
                    hello->version <= offer->version_max,
                &hello->error);
    FUZZ_ASSERT(!(hello->features & ~offer->features), &hello->error);
    FUZZ_ASSERT(!(hello->optional & ~offer->optional), &hello->error);
    FUZZ_ASSERT(!(offer->required & ~hello->features), &hello->error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct hello hello;
    struct hello_offer offer = {
        .role = HELLO_SENDER,
        .version_min = 2,
        .version_max = 3,
        .features = 7,
        .optional = XENSAVE_OPTIONAL_INDEX,
        .text = "xl-aligned 0\nfeature 2 SOMETHING\n",
    };
    struct fuzz_control control;
    struct fuzz_random random;
    size_t part, want;

    if (!fuzz_control(&control, &data, &size))
        return 0;
    random = fuzz_random(control.chunks);
    if (control.flags & FLAG_RECEIVER)
        offer.role = HELLO_RECEIVER;
    offer.first = control.flags & FLAG_FIRST;
    offer.refuse_stock = control.flags & FLAG_REFUSE_STOCK;
    offer.required = control.number & offer.features;
    offer.request = control.number >> 8 & HELLO_REQUESTS;
    offer.version_min = 2 + (control.number >> 12 & 1);
    hello_begin(&hello, &offer);
    assert_sound(&hello);
    while (size && !hello_over(&hello)) {
        want = hello_want(&hello);
        FUZZ_ASSERT(want && want <= HELLO_MESSAGE_MAX, &hello.error);
        part = control.chunks ? fuzz_chunk(&random, size) : size;
        part = part < want ? part : want;
        hello_push(&hello, data, part);
        data += part;
        size -= part;
        assert_sound(&hello);
        if (!(control.flags & FLAG_KEEP_OUT))
            hello.out_length = 0;
    }
    if (!hello_over(&hello) && (control.flags & FLAG_SILENCE))
        hello_silence(&hello);
    if (!hello_over(&hello) && (control.flags & FLAG_END)) {
        hello_end(&hello);
        FUZZ_ASSERT(hello_over(&hello), &hello.error);
    }
    FUZZ_ASSERT(hello_over(&hello) == !hello_want(&hello), &hello.error);
    assert_sound(&hello);
    return 0;
}

/* Every message that is whole gets the checksum that it should have. */
static void seal_messages(uint8_t *data, size_t size)
{
    struct hello_header header;

    while (size >= sizeof(header)) {
        memcpy(&header, data, sizeof(header));
        if (header.length > size - sizeof(header))
            return;
        header.checksum = 0;
        memcpy(data, &header, sizeof(header));
        header.checksum = XXH3_64bits(data, sizeof(header) + header.length);
        memcpy(data, &header, sizeof(header));
        data += sizeof(header) + header.length;
        size -= sizeof(header) + header.length;
    }
}

/* Another message behind the others, most of it right. */
static size_t append(uint8_t *data, size_t size, size_t max,
                     struct fuzz_random *random)
{
    struct {
        struct hello_header header;
        union {
            struct hello_body hello;
            struct xensave_result_body result;
        } body;
    } message = { .header = {
                      .magic = { 'X', 'E', 'N', 'H', 'E', 'L', 'L', 'O' } } };

    if (max - size < sizeof(message))
        return size;
    message.header.kind = 1 + fuzz_below(random, 2);
    if (message.header.kind == HELLO_KIND_HELLO) {
        message.header.length = sizeof(message.body.hello);
        message.body.hello = (struct hello_body){
            .version_min = 2,
            .version_max = 3,
            .text_offset = sizeof(message.body.hello),
            .features = fuzz_below(random, 16),
            .role = 1 + fuzz_below(random, 2),
        };
    } else {
        message.header.length = sizeof(message.body.result);
        message.body.result = (struct xensave_result_body){
            .status = fuzz_below(random, 6),
            .version = 2 + fuzz_below(random, 2),
            .text_offset = sizeof(message.body.result),
            .features = fuzz_below(random, 16),
        };
    }
    memcpy(data + size, &message,
           sizeof(message.header) + message.header.length);
    return size + sizeof(message.header) + message.header.length;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
                               unsigned seed)
{
    struct fuzz_random random = fuzz_random(seed);
    const size_t start = sizeof(struct fuzz_control);

    if (size >= start && !fuzz_below(&random, 6))
        size = append(data, size, max, &random);
    else
        size = LLVMFuzzerMutate(data, size, max);
    if (size > start && fuzz_below(&random, 8))
        seal_messages(data + start, size - start);
    return size;
}
