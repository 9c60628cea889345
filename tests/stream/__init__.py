# SPDX-License-Identifier: LGPL-2.1-or-later
"""The C library of the stream, by ctypes."""
