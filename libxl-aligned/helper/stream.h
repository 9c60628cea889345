/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the helper-side library share. */
#ifndef XL_ALIGNED_STREAM_H
#define XL_ALIGNED_STREAM_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "operation/stream_plan.h"

#define EXPORT __attribute__((visibility("default")))

void stream_activate(const struct stream_plan *plan);

/* The functions of libxenctrl that this library stands in front of. */
EXPORT int read_exact(int fd, void *data, size_t size);
EXPORT int write_exact(int fd, const void *data, size_t size);
EXPORT int writev_exact(int fd, const struct iovec *iov, int iovcnt);

#endif /* XL_ALIGNED_STREAM_H */
