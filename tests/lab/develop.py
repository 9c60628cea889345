# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compiling programs for dom0 against the Xen that it has."""

from . import packages
from .roots import Roots
from .versions import version as version_of


def xenctrl(version: str | None = None) -> list[str]:
    """Compiler flags for libxenctrl: its calls change with every version."""
    here = version_of(version)
    debs = packages.download(here.suite, ("libxen-dev",))
    roots = Roots([packages.unpacked(deb) for name, deb in debs.items()
                   if name.startswith("libxen")])
    soname = f"libxenctrl.so.{here.xen}"
    found = roots.library(soname)
    if not found:
        raise packages.ImageError(f"no package holds {soname}")
    # Its own libraries are in dom0, maybe newer than this machine's.
    return ["-isystem", f"{packages.unpacked(debs['libxen-dev'])}/usr/include",
            found[1], "-Wl,--allow-shlib-undefined"]
