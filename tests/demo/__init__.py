# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the software does for dom0, shown on the Xen host of the lab."""
