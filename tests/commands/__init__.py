# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands and the listener, without Xen."""
