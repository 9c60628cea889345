/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How xl-aligned doctor is divided: what it finds, and the places it looks. */
#ifndef XL_CMDS_DOCTOR_H
#define XL_CMDS_DOCTOR_H

#include "xl-cmds/cmds.h"

#define XEN_MINOR_LEAST 14

enum finding_level {
    FINDING_OK,
    FINDING_NOTE, /* works, but another way than it could */
    FINDING_BAD,  /* saves go stock's way, or not at all */
};

struct finding {
    enum finding_level level;
    const char *what; /* a word */
    char *text;
};

struct doctor {
    const char *directory;
    int minor; /* of xl's libxenlight.so.4.N; -1: not known */
    struct finding *findings;
    size_t count;
    /* What the configuration says, as far as it was understood. */
    char format[16], io[16], engine[16];
    char *outlook; /* what a save to `directory` will do, and why */
};

void doctor_find(struct doctor *doctor, enum finding_level level,
                 const char *what, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool doctor_is_bad(const struct doctor *doctor);

/* host.c: Xen, xl, the plugin and the helper's library. */
void doctor_host(struct doctor *doctor);
/* services.c: xendomains and libvirt. */
void doctor_services(struct doctor *doctor);
/* settings.c: /etc/xen/xl-aligned.conf and the environment. */
void doctor_settings(struct doctor *doctor);
/*
 * tls.c: keys, certificates and lists of migration; those that are not
 * given are where migrate and listen look for them.
 */
struct carrier_options;
void doctor_tls(struct doctor *doctor, const struct carrier_options *given,
                const char *allow);
/* directory.c: the kernel, and what the directory is on. */
void doctor_directory(struct doctor *doctor);

#endif /* XL_CMDS_DOCTOR_H */
