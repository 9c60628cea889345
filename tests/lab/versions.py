# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Xen versions that the lab boots, each as a Debian release has it."""

import os
from dataclasses import dataclass

from .cache import ImageError


@dataclass(frozen=True)
class Version:
    xen: str
    suite: str
    python: str
    qemu: str = "qemu-system-xen"
    device_model: str = "usr/libexec/xen-qemu-system-i386"
    # Packages that later suites have split off.
    split: tuple[str, ...] = ("util-linux-extra",)
    # It has what the Python tests import: python3-zstandard.
    python_tests: bool = True

    def fill(self, text: str) -> str:
        """A name with this version's words for those in braces."""
        return text.format_map(vars(self))

    def __str__(self) -> str:
        return self.xen


# Oldest first.
VERSIONS = {each.xen: each for each in (
    Version("4.14", "bullseye", "3.9", "qemu-system-x86",
            "usr/bin/qemu-system-i386", (), python_tests=False),
    Version("4.17", "bookworm", "3.11"),
    Version("4.20", "trixie", "3.13"),
)}
DEFAULT = "4.17"


def version(name: str | None = None) -> Version:
    """The version of that name; by default the one that XEN names."""
    name = name or os.environ.get("XEN") or DEFAULT
    if name not in VERSIONS:
        raise ImageError(f"XEN={name}: the lab has {', '.join(VERSIONS)}")
    return VERSIONS[name]
