/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names and messages for a terminal: common/text.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/text.h"

static void becomes(const char *name, const char *shown)
{
    char *text = text_name(name, strlen(name));

    assert_non_null(text);
    assert_string_equal(text, shown);
    free(text);
}

static void test_names(void **state)
{
    (void)state;
    becomes("", "");
    becomes("web01 (a) 'b' $(c)", "web01 (a) 'b' $(c)");
    becomes("Gr\xc3\xb6\xc3\x9f"
            "e \xe2\x82\xac \xf0\x9f\x90\xa7",
            "Gr\xc3\xb6\xc3\x9f"
            "e \xe2\x82\xac \xf0\x9f\x90\xa7");
    becomes("a\\x1b", "a\\x5cx1b");
    becomes("a\nb\r\t\x1b[31m\x7f", "a\\x0ab\\x0d\\x09\\x1b[31m\\x7f");
    /* C1: as a byte, and as UTF-8. */
    becomes("\x9b"
            "31m\xc2\x9b",
            "\\x9b31m\\xc2\\x9b");
    /* NOLINTBEGIN(misc-misleading-bidirectional): what is tested */
    becomes("\xe2\x80\xae", "\\xe2\\x80\\xae"); /* override */
    becomes("\xe2\x81\xa6", "\\xe2\\x81\\xa6"); /* isolate */
    /* NOLINTEND(misc-misleading-bidirectional) */
    becomes("\xe2\x80\x8b", "\\xe2\\x80\\x8b"); /* no width */
    becomes("\xe2\x80\xa8", "\\xe2\\x80\\xa8"); /* a line's end */
    becomes("\xef\xbb\xbf", "\\xef\\xbb\\xbf"); /* BOM */
    becomes("\xff\xc3", "\\xff\\xc3");          /* cut off */
    becomes("\xc1\x81", "\\xc1\\x81");          /* too long for A */
    becomes("\xe0\x80\x8a", "\\xe0\\x80\\x8a"); /* for a newline */
    becomes("\xed\xa0\x80", "\\xed\\xa0\\x80"); /* a surrogate */
    becomes("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");
    becomes("\xf8\x88\x80\x80\x80", "\\xf8\\x88\\x80\\x80\\x80");
}

static size_t undo(const char *text, char *name)
{
    char *to = name, digits[3] = "";

    while (*text) {
        if (*text != '\\') {
            *to++ = *text++;
            continue;
        }
        assert_int_equal(text[1], 'x');
        memcpy(digits, text + 2, 2);
        *to++ = strtoul(digits, NULL, 16);
        text += 4;
    }
    return to - name;
}

/* And so no two names have the same text. */
static void test_names_come_back(void **state)
{
    static const char bytes[] = "\\x5cn\n\x1b\x80\xc3\xa9\xe2\xae\xff\x00";
    char name[16], back[64];

    (void)state;
    srand(23);
    for (int i = 0; i < 20000; i++) {
        size_t length = rand() % sizeof(name);
        char *text;

        for (size_t j = 0; j < length; j++)
            name[j] = bytes[rand() % (sizeof(bytes) - 1)];
        text = text_name(name, length);
        assert_int_equal(undo(text, back), length);
        assert_memory_equal(back, name, length);
        free(text);
    }
}

static void test_cut(void **state)
{
    const char *name = "ab\xc3\xa9\x1b"
                       "cd";
    char text[16];

    (void)state;
    for (size_t size = 1; size < sizeof(text); size++) {
        size_t length = text_printable(text, size, name, strlen(name));

        assert_int_equal(length, strlen(text));
        assert_true(length < size);
        /* No half of a character, and none of an escape. */
        assert_true(length != 3 && (length <= 4 || length >= 8));
    }
    assert_string_equal(text, "ab\xc3\xa9\\x1b"
                              "cd");
}

static char *message(const char *format, ...)
{
    va_list arguments;
    char *text;

    va_start(arguments, format);
    text = text_message(format, arguments);
    va_end(arguments);
    return text;
}

static void test_messages(void **state)
{
    char *text = message("%s: %s", "a\n\x1b", "\\x0a stays");

    (void)state;
    assert_string_equal(text, "a\\x0a\\x1b: \\x0a stays");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_names_come_back),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
