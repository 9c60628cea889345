/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a save is of, for those who find the file.  Nothing depends on it: what
 * libxl or the system does not say is left out.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/text.h"
#include "identity.h"

struct lines {
    char text[XENSAVE_IDENTITY_MAX + 1];
    size_t length;
};

/* A line that does not fit whole is left out. */
static void add(struct lines *lines, const char *key, const char *value)
{
    char *to = lines->text + lines->length;
    char *const end = lines->text + XENSAVE_IDENTITY_MAX;
    size_t left = value ? strlen(value) : 0, part;
    uint32_t character;

    if (!left || strlen(key) + 1 + left + 1 > (size_t)(end - to))
        return;
    to += sprintf(to, "%s=", key);
    for (; left; value += part, left -= part) {
        part = text_character(value, left, &character);
        if (part && !text_is_control(character)) {
            memcpy(to, value, part);
            to += part;
        } else {
            *to++ = '?';
            part = part ? part : 1;
        }
    }
    *to++ = '\n';
    *to = '\0';
    lines->length = to - lines->text;
}

static void add_uuid(struct lines *lines, const uint8_t uuid[16])
{
    static const uint8_t none[16];
    char text[37], *to = text;
    int i;

    for (i = 0; i < 16; i++)
        to += sprintf(to,
                      i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x",
                      uuid[i]);
    if (memcmp(uuid, none, sizeof(none)))
        add(lines, "uuid", text);
}

static void add_name(struct lines *lines, libxl_ctx *ctx, uint32_t domid)
{
    char *(*get)(libxl_ctx *, uint32_t) = real_symbol("libxl_domid_to_name");
    char *name = get ? get(ctx, domid) : NULL;

    add(lines, "name", name);
    free(name);
}

static void add_host(struct lines *lines)
{
    char host[256] = "";

    if (!gethostname(host, sizeof(host) - 1))
        add(lines, "host", host);
}

static void add_xen(struct lines *lines, libxl_ctx *ctx)
{
    const libxl_version_info *(*get)(libxl_ctx *) = real_symbol(
        "libxl_get_version_info");
    const libxl_version_info *version = get ? get(ctx) : NULL;
    char text[128];

    if (!version)
        return;
    snprintf(text, sizeof(text), "%d.%d%s", version->xen_version_major,
             version->xen_version_minor,
             version->xen_version_extra ? version->xen_version_extra : "");
    add(lines, "xen", text);
}

static void add_time(struct lines *lines)
{
    time_t now = time(NULL);
    char text[32];
    struct tm tm;

    if (gmtime_r(&now, &tm) &&
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
        add(lines, "time", text);
}

static void add_number(struct lines *lines, const char *key, uint64_t number)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, number);
    if (number)
        add(lines, key, text);
}

static const char *guest_name(libxl_domain_type type)
{
    switch (type) {
    case LIBXL_DOMAIN_TYPE_PV:
        return "pv";
    case LIBXL_DOMAIN_TYPE_PVH:
        return "pvh";
    case LIBXL_DOMAIN_TYPE_HVM:
        return "hvm";
    default:
        return NULL;
    }
}

char *identity_lines(libxl_ctx *ctx, uint32_t domid,
                     const struct dominfo *info, const char *kind)
{
    struct lines lines = { .length = 0 };

    add_uuid(&lines, info->uuid);
    add_name(&lines, ctx, domid);
    add_host(&lines);
    add_xen(&lines, ctx);
    add(&lines, "writer", "libxl-aligned " XL_ALIGNED_VERSION);
    add_time(&lines);
    add_number(&lines, "memory_kib", info->memory >> 10);
    add_number(&lines, "vcpus", info->vcpus);
    add(&lines, "guest", guest_name(info->type));
    add(&lines, "kind", kind);
    return strdup(lines.text);
}
