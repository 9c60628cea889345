/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the plugin configures its library in the save helper. */
#ifndef XENSAVE_STREAM_PLAN_H
#define XENSAVE_STREAM_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/fd.h"
#include "xensave.h"

#define STREAM_VARIABLE "XL_ALIGNED_STREAM"
#define STREAM_PLAN_MAX 512U /* bytes of its text, NUL included */
/* Lines "key=value" (docs/spec/stream-v3.md 3.7), beside the plan. */
#define IDENTITY_VARIABLE "XL_ALIGNED_IDENTITY"

/* The value of the variable. */
struct stream_plan {
    int fd;
    bool restore;
    enum xensave_format format;
    struct xensave_io_options io;
    struct xensave_compression compression; /* v3 */
    uint32_t head_padding;
    char progress[FD_PATH]; /* path of the handoff page; "": none */
    char *identity;         /* of IDENTITY_VARIABLE; NULL: none */
};

/*
 * The text of a plan.  -1: too long.  For a forked child as well: takes no
 * lock and allocates nothing.
 */
int stream_plan_format(const struct stream_plan *plan, char *text,
                       size_t size);
/* -1 and one line in `why` if the text is not understood. */
int stream_plan_parse(struct stream_plan *plan, const char *text, char *why,
                      size_t size);

/*
 * The arguments of libxl-save-helper, the same in every Xen since 4.14.  The
 * last is the type of the stream; Remus and COLO have others than 0.
 */
enum { HELPER_MODE = 1, HELPER_FD = 2, HELPER_DOMID = 4 };

struct helper_mode {
    const char *name;
    bool restore;
    int argc;
};

/* NULL if they are not a helper's. */
const struct helper_mode *helper_mode(int argc, char *const argv[]);
bool helper_is_plain(int argc, char *const argv[]);

/*
 * The only argument, no mode of Xen's, and the variable's value, to find out
 * whether the helper loads the library: that writes one byte to stdout and
 * exits.
 */
#define PROBE_MODE   "--xl-aligned-probe"
#define PROBE_STREAM "probe"

#endif /* XENSAVE_STREAM_PLAN_H */
