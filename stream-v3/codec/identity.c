/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ALIGNED_IDENTITY: spec 3.7.  In the stream each "key=value" ends with a NUL,
 * for callers with a newline, which no value has.
 */
#include "common/text.h"
#include "record.h"

#define KEY_MAX 31U

/* Of the key that begins there; 0 if it is none. */
static size_t key_length(const char *line)
{
    size_t length = strspn(line, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return length <= KEY_MAX && line[length] == '=' ? length : 0;
}

static bool value_fits(const char *value, size_t length)
{
    uint32_t character;
    size_t part;

    for (; length; value += part, length -= part) {
        part = text_character(value, length, &character);
        if (!part || text_is_control(character))
            return false;
    }
    return true;
}

/* Among the lines before `end`. */
static const char *find(const char *lines, const char *end, const char *key,
                        size_t length)
{
    for (; lines < end; lines = strchr(lines, '\n') + 1)
        if (key_length(lines) == length && !memcmp(lines, key, length))
            return lines + length + 1;
    return NULL;
}

bool xensave_identity_fits(const char *lines)
{
    const char *line, *end;
    size_t key;

    if (strlen(lines) > XENSAVE_IDENTITY_MAX)
        return false;
    for (line = lines; *line; line = end + 1) {
        end = strchr(line, '\n');
        key = key_length(line);
        if (!end || !key || find(lines, line, line, key) ||
            !value_fits(line + key + 1, end - (line + key + 1)))
            return false;
    }
    return true;
}

static void replace(char *text, size_t length, char from, char to)
{
    for (size_t i = 0; i < length; i++)
        if (text[i] == from)
            text[i] = to;
}

size_t xensave_identity_to_body(char *text)
{
    size_t length = strlen(text);

    replace(text, length, '\n', '\0');
    return length;
}

bool xensave_identity_from_body(char *body, size_t length)
{
    if (memchr(body, '\n', length))
        return false;
    replace(body, length, '\0', '\n');
    body[length] = '\0';
    return xensave_identity_fits(body);
}

PUBLIC const char *xensave_identity_value(const char *identity,
                                          const char *key, size_t *length)
{
    const char *value = find(identity, identity + strlen(identity), key,
                             strlen(key));

    if (value)
        *length = strcspn(value, "\n");
    return value;
}
