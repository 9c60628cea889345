/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the toolstack side asks whether a helper would load its library. */
#ifndef XL_ALIGNED_PROBE_H
#define XL_ALIGNED_PROBE_H

/*
 * The helper's only argument, no mode of Xen's, and what XL_ALIGNED_STREAM
 * says then.  The library writes one byte to stdout and exits.
 */
#define PROBE_MODE   "--xl-aligned-probe"
#define PROBE_STREAM "probe"

#endif /* XL_ALIGNED_PROBE_H */
