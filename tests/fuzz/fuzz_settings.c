/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any bytes as xl-aligned.conf, and as the variables that override it. */
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

#include "common/fd.h"
#include "operation/settings.h"

#define FLAG_VARIABLES 1U

/* The bytes up to the next NUL are the next variable's. */
static void take(const char **value, char *room, size_t size,
                 const uint8_t **data, size_t *left)
{
    size_t length = strnlen((const char *)*data, *left);
    size_t n = length < size - 1 ? length : size - 1;

    memcpy(room, *data, n);
    room[n] = 0;
    *value = n ? room : NULL;
    length += length < *left;
    *data += length;
    *left -= length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct environment environment;
    struct settings settings;
    char room[6][64], path[FD_PATH], why[256];
    uint8_t flags;
    int r;

    if (!size)
        return 0;
    flags = *data++;
    size--;
    memset(&environment, 0, sizeof(environment));
    memset(why, 0xff, sizeof(why));
    if (flags & FLAG_VARIABLES) {
        take(&environment.format, room[0], sizeof(room[0]), &data, &size);
        take(&environment.io, room[1], sizeof(room[1]), &data, &size);
        take(&environment.engine, room[2], sizeof(room[2]), &data, &size);
        take(&environment.restore_io, room[3], sizeof(room[3]), &data, &size);
        take(&environment.reserve, room[4], sizeof(room[4]), &data, &size);
        take(&environment.commit_name, room[5], sizeof(room[5]), &data, &size);
    }
    fd_path(fuzz_file(data, size), path);
    environment.config = path;
    r = settings_read(&settings, &environment, 17, why, sizeof(why));
    if (r)
        FUZZ_ASSERT(memchr(why, 0, sizeof(why)) && why[0] &&
                        !strchr(why, '\n'),
                    NULL);
    else
        FUZZ_ASSERT(settings.format <= XENSAVE_FORMAT_V3 &&
                        settings.io <= XENSAVE_IO_BUFFERED &&
                        settings.restore_io != XENSAVE_IO_WINDOW &&
                        settings.engine <= XENSAVE_ENGINE_THREAD,
                    NULL);
    return 0;
}
