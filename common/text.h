/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names and messages that hold bytes of files, guests, peers or xenstore, made
 * fit for a terminal, a log and JSON: one line of valid UTF-8 that moves no
 * cursor and hides nothing.  Every other byte becomes \xNN: those of control
 * characters (C0, DEL, C1), of characters that no one sees or that change the
 * direction or the line, and those that are not UTF-8.
 */
#ifndef COMMON_TEXT_H
#define COMMON_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character that begins there; 0 if it is not UTF-8. */
size_t text_character(const void *from, size_t left, uint32_t *character);

/* C0, DEL or C1. */
static inline bool text_is_control(uint32_t character)
{
    return character < 0x20 || (character >= 0x7f && character < 0xa0);
}

/*
 * Of a name.  A backslash becomes \x5c, so that no two names look the same and
 * the name can be had back.  What does not fit is left out, by whole
 * characters.  Returns the length.
 */
size_t text_printable(char *to, size_t size, const void *from, size_t length);

/* The same of any length: to be freed; NULL if memory is out. */
char *text_name(const void *from, size_t length);

/*
 * Of a message; its backslashes stay, since parts of it may be escaped
 * already.  To be freed; NULL if memory is out.
 */
char *text_message(const char *format, va_list arguments)
    __attribute__((format(printf, 1, 0)));

/*
 * Whether `word` is `name` with one slip of the keyboard, two in a name of five
 * letters or more: a letter too many, too few, another one, or two swapped.
 */
bool text_resembles(const char *word, const char *name);

#endif /* COMMON_TEXT_H */
