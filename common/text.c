/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define ESCAPED 4U /* bytes of \xNN */

static const struct range {
    uint32_t first, last;
} refused[] = {
    { 0x00ad, 0x00ad },                          /* soft hyphen */
    { 0x034f, 0x034f },                          /* grapheme joiner */
    { 0x061c, 0x061c },                          /* Arabic letter mark */
    { 0x115f, 0x1160 },      { 0x17b4, 0x17b5 }, /* blank fillers */
    { 0x180b, 0x180f },                          /* Mongolian selectors */
    { 0x200b, 0x200f },                          /* no width, direction */
    { 0x2028, 0x202e },                          /* line ends, overrides */
    { 0x2060, 0x206f },                          /* joiners, isolates */
    { 0x3164, 0x3164 },                          /* blank filler */
    { 0xfdd0, 0xfdef },                          /* no characters */
    { 0xfe00, 0xfe0f },      { 0xfeff, 0xfeff }, /* selectors, BOM */
    { 0xffa0, 0xffa0 },      { 0xfff0, 0xfffb }, /* blank, annotations */
    { 0xfffe, 0xffff },      { 0x1bca0, 0x1bca3 },
    { 0x1d173, 0x1d17a },    /* format controls */
    { 0xe0000, UINT32_MAX }, /* tags, private planes */
};

static bool is_refused(uint32_t character)
{
    size_t i;

    if (text_is_control(character))
        return true;
    for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (character >= refused[i].first && character <= refused[i].last)
            return true;
    return (character & 0xfffe) == 0xfffe;
}

size_t text_character(const void *from, size_t left, uint32_t *character)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const uint8_t *at = from;
    size_t length, i;

    if (!left)
        return 0;
    length = *at < 0x80   ? 1
             : *at < 0xc0 ? 0
             : *at < 0xe0 ? 2
             : *at < 0xf0 ? 3
             : *at < 0xf8 ? 4
                          : 0;
    if (!length || length > left)
        return 0;
    *character = length == 1 ? *at : *at & (0x7f >> length);
    for (i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        *character = *character << 6 | (at[i] & 0x3f);
    }
    if (*character < least[length] || *character > 0x10ffff ||
        (*character >= 0xd800 && *character <= 0xdfff))
        return 0;
    return length;
}

/* Bytes of the character at `at` if it may stay as it is, or 0. */
static size_t take(const uint8_t *at, size_t left)
{
    uint32_t character;
    size_t length = text_character(at, left, &character);

    return length && !is_refused(character) ? length : 0;
}

static size_t escape(char *to, size_t size, const void *from, size_t length,
                     bool backslash)
{
    const uint8_t *at = from, *end = at + length;
    size_t used = 0, whole;

    for (; at < end; at += whole) {
        char escaped[ESCAPED + 1];
        const void *text = at;
        size_t out = whole = take(at, end - at);

        if (!whole || (*at == '\\' && backslash)) {
            snprintf(escaped, sizeof(escaped), "\\x%02x", *at);
            text = escaped;
            out = ESCAPED;
            whole = 1;
        }
        if (used + out >= size)
            break;
        memcpy(to + used, text, out);
        used += out;
    }
    if (size)
        to[used] = '\0';
    return used;
}

static char *escape_all(const void *from, size_t length, bool backslash)
{
    const size_t size = ESCAPED * length + 1;
    char *to = malloc(size);

    if (to)
        escape(to, size, from, length, backslash);
    return to;
}

size_t text_printable(char *to, size_t size, const void *from, size_t length)
{
    return escape(to, size, from, length, true);
}

char *text_name(const void *from, size_t length)
{
    return escape_all(from, length, true);
}

char *text_message(const char *format, va_list arguments)
{
    char *text, *message;

    if (vasprintf(&text, format, arguments) < 0)
        return NULL;
    message = escape_all(text, strlen(text), false);
    free(text);
    return message;
}

/* ---- slips of the keyboard ---------------------------------------------- */

#define WORD_MAX 32

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Edits between two words, a swap of neighbours being one. */
static unsigned distance(const char *a, size_t m, const char *b, size_t n)
{
    unsigned d[WORD_MAX + 1][WORD_MAX + 1];
    size_t i, j;

    for (i = 0; i <= m; i++)
        d[i][0] = i;
    for (j = 0; j <= n; j++)
        d[0][j] = j;
    for (i = 1; i <= m; i++)
        for (j = 1; j <= n; j++) {
            d[i][j] = least(d[i - 1][j - 1] + (a[i - 1] != b[j - 1]),
                            least(d[i - 1][j], d[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
        }
    return d[m][n];
}

bool text_resembles(const char *word, const char *name)
{
    size_t m = strlen(word), n = strlen(name);

    return m && m <= WORD_MAX && n <= WORD_MAX &&
           distance(word, m, name, n) <= (n < 5 ? 1 : 2);
}
