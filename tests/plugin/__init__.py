# SPDX-License-Identifier: LGPL-2.1-or-later
"""The plugin in a toolstack without Xen."""
