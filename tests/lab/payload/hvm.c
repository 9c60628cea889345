/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An HVM guest of our own, far lighter than Linux where the processor is
 * emulated: fills memory with noise and gives verdicts on the first serial
 * port.  Runs in flat 32-bit mode without paging; see boot.S.
 */
#include <stdint.h>

#include "noise.h"

#define SERIAL      0x3f8
#define TIMER_HZ    18
#define GENERATIONS ((uint32_t *)0x400000) /* one for each page */
#define NOISE       ((uint64_t *)0x1000000)

/* Filled in on the disk, directly after the boot sector. */
extern volatile struct {
    uint32_t pages, seed, dirty, interval;
} parameters;

volatile uint32_t ticks;
void timer_entry(void);
void spurious_entry(void);
void hvm_main(void);

static struct __attribute__((packed)) {
    uint16_t low, selector, flags, high;
} gates[48];

static inline void outb(uint16_t port, uint8_t value)
{
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t value;

    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void put(const char *text)
{
    for (; *text; text++) {
        for (int spin = 0; spin < 100000; spin++)
            if (inb(SERIAL + 5) & 0x20)
                break;
        outb(SERIAL, *text);
    }
}

static void put_decimal(uint32_t n)
{
    char text[11], *at = text + 10;

    *at = 0;
    do {
        *--at = '0' + n % 10;
        n /= 10;
    } while (n);
    put(at);
}

static void put_hash(uint64_t hash)
{
    char text[17];

    for (int i = 0; i < 16; i++)
        text[i] = "0123456789abcdef"[hash >> (60 - 4 * i) & 15];
    text[16] = 0;
    put(text);
}

static void start_timer(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint32_t base;
    } table = { sizeof(gates) - 1, (uint32_t)gates };

    for (int i = 0; i < 48; i++) {
        uint32_t entry = (uint32_t)(i == 32 ? timer_entry : spurious_entry);

        gates[i].low = entry;
        gates[i].high = entry >> 16;
        gates[i].selector = 8;
        gates[i].flags = 0x8e00;
    }
    asm volatile("lidt %0" : : "m"(table));

    /* Interrupts 0-15 become vectors 32-47; only the timer's is let in. */
    outb(0x20, 0x11), outb(0xa0, 0x11);
    outb(0x21, 32), outb(0xa1, 40);
    outb(0x21, 4), outb(0xa1, 2);
    outb(0x21, 1), outb(0xa1, 1);
    outb(0x21, 0xfe), outb(0xa1, 0xff);
    /* Timer 0: rate generator, 65536 clocks, 18.2 Hz. */
    outb(0x43, 0x34), outb(0x40, 0), outb(0x40, 0);
    asm volatile("sti");
}

static void check(uint32_t number)
{
    uint64_t hash = parameters.seed;
    uint32_t bad = 0, first = 0;

    for (uint32_t p = 0; p < parameters.pages; p++) {
        uint64_t state = noise_start(parameters.seed, p, GENERATIONS[p]);

        if (!noise_check(NOISE + p * NOISE_WORDS, state, &hash) && !bad++)
            first = p;
    }
    put("verdict ");
    put_decimal(number);
    put(bad ? " BAD " : " ok ");
    put_hash(hash);
    if (bad) {
        put(" ");
        put_decimal(bad);
        put(" pages, first ");
        put_decimal(first);
    }
    put("\r\n");
}

void hvm_main(void)
{
    uint32_t next_dirty = 0;

    outb(SERIAL + 1, 0);
    outb(SERIAL + 3, 3);
    put("filling\r\n");
    for (uint32_t p = 0; p < parameters.pages; p++) {
        GENERATIONS[p] = 0;
        noise_fill(NOISE + p * NOISE_WORDS,
                   noise_start(parameters.seed, p, 0));
    }
    put("filled ");
    put_decimal(parameters.pages);
    put(" pages, seed ");
    put_decimal(parameters.seed);
    put("\r\n");
    start_timer();

    for (uint32_t n = 1;; n++) {
        uint32_t start = ticks;

        check(n);
        for (uint32_t i = 0; i < parameters.dirty && i < parameters.pages;
             i++) {
            uint32_t p = next_dirty++ % parameters.pages;

            noise_fill(NOISE + p * NOISE_WORDS,
                       noise_start(parameters.seed, p, ++GENERATIONS[p]));
        }
        while (ticks - start < parameters.interval * TIMER_HZ)
            asm volatile("hlt");
    }
}
