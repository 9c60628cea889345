/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of xl-aligned doctor: its findings and its checks. */
#ifndef XL_CMDS_DOCTOR_H
#define XL_CMDS_DOCTOR_H

#include "xl-cmds/cmds.h"

#define XEN_MINOR_LEAST 14

enum finding_level {
    FINDING_OK,
    FINDING_NOTE, /* works, but not the best way */
    FINDING_BAD,  /* saves fall back to plain xl, or fail */
};

struct finding {
    enum finding_level level;
    const char *what; /* a word */
    char *text;
};

struct doctor {
    const char *directory;
    int minor; /* of xl's libxenlight.so.4.N; -1: unknown */
    struct finding *findings;
    size_t count;
    /* The settings, as far as they could be read. */
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
 * tls.c: keys, certificates and lists for migration; the defaults are those of
 * migrate and listen.
 */
struct carrier_options;
void doctor_tls(struct doctor *doctor, const struct carrier_options *given,
                const char *allow);
/* directory.c: the kernel, and what the directory is on. */
void doctor_directory(struct doctor *doctor);

#endif /* XL_CMDS_DOCTOR_H */
