# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stream v3 in Python, written from docs/spec/stream-v3.md alone.

It shares no code with the C library: it exists to find out whether the
specification is enough to read and write the format, and to test the one
against the other.
"""
