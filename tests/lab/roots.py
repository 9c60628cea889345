# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files and libraries, out of unpacked packages or this machine."""

import os
import re

from .cache import ImageError, command
from .cpio import Archive, merged

LIBRARY_DIRS = (
    "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/ceph", "usr/lib", "lib", "lib64",
)


def needed(path: str) -> list[str]:
    """Libraries an ELF file asks for, its interpreter included."""
    with open(path, "rb") as file:
        if file.read(4) != b"\x7fELF":
            return []
    out = command("readelf", "-d", "-l", path)
    return (re.findall(r"\(NEEDED\).*\[(.*)\]", out) +
            re.findall(r"program interpreter: /lib64/(.*)\]", out))


def machine_library(soname: str) -> str:
    """A shared library installed on this machine."""
    for line in command("/sbin/ldconfig", "-p").splitlines():
        match = re.match(r"\s+(\S+) \(.*x86-64.*\) => (\S+)", line)
        if match and match[1] == soname:
            return os.path.realpath(match[2])
    raise ImageError(f"the overlay needs {soname}: neither the lab's image "
                     "nor this machine has it")


class Roots:
    """Unpacked packages, searched as if they were one root directory."""

    def __init__(self, roots: list[str]):
        self.roots = roots

    def find(self, path: str) -> str | None:
        names = {path, merged(path)}
        if path.startswith("usr/"):
            names.add(path.removeprefix("usr/"))
        for root in self.roots:
            for name in names:
                full = os.path.join(root, name)
                if os.path.lexists(full):
                    return full
        return None

    def follow(self, path: str) -> str | None:
        """The file at the end of a path's links, absolute ones too."""
        full = self.find(path)
        if not full or not os.path.islink(full):
            return full
        target = os.path.join(os.path.dirname("/" + path),
                              os.readlink(full))
        return self.follow(os.path.normpath(target).lstrip("/"))

    def listing(self, path: str) -> list[str]:
        """Names in a directory that several packages may fill."""
        names: set[str] = set()
        for root in self.roots:
            for each in {path, merged(path)}:
                full = os.path.join(root, each)
                if os.path.isdir(full):
                    names.update(os.listdir(full))
        return sorted(names)

    def library(self, soname: str) -> tuple[str, str] | None:
        """Place and real file of a library."""
        for where in LIBRARY_DIRS:
            full = self.follow(f"{where}/{soname}")
            if full:
                return f"{where}/{soname}", full
        return None


def add_file(archive: Archive, roots: Roots, path: str) -> list[str]:
    """Add a file or tree of the packages; the ELF files added."""
    full = roots.find(path)
    if not full:
        raise ImageError(f"no package holds {path}")
    if os.path.islink(full):
        target = os.readlink(full)
        archive.symlink(path, target)
        inside = os.path.normpath(
            os.path.join(os.path.dirname("/" + path), target))
        return add_file(archive, roots, inside.lstrip("/"))
    if os.path.isdir(full):
        elfs = []
        for name in roots.listing(path):
            if name not in ("test", "__pycache__"):
                elfs += add_file(archive, roots, f"{path}/{name}")
        return elfs
    archive.copy(path, full)
    return [full]


def add_libraries(archive: Archive, roots: Roots, queue: list[str],
                  have: set[str]) -> None:
    """Add what the ELF files in `queue` need, and what that needs."""
    while queue:
        for soname in needed(queue.pop()):
            if soname in have:
                continue
            have.add(soname)
            place = roots.library(soname)
            if not place:
                raise ImageError(f"no package holds {soname}")
            archive.file(place[0], open(place[1], "rb").read(), 0o755)
            queue.append(place[1])
