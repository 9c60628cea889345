# SPDX-License-Identifier: LGPL-2.1-or-later
"""The product on Xen hosts in QEMU."""
