/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages to the toolstack's log, or to stderr. */
#ifndef LIBXL_ALIGNED_REPORT_H
#define LIBXL_ALIGNED_REPORT_H

#include <xentoollog.h>

/* One line; `lg` NULL: on stderr. */
void report(xentoollog_logger *lg, xentoollog_level level, const char *fmt,
            ...) __attribute__((format(printf, 3, 4)));

#endif /* LIBXL_ALIGNED_REPORT_H */
