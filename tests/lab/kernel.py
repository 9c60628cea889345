# SPDX-License-Identifier: LGPL-2.1-or-later
"""A Debian kernel: its version, its uncompressed form, its modules."""

import lzma
import os
import re

import zstandard

from .cache import ImageError
from .packages import unpacked

MODULE = re.compile(r"(.+)\.ko(\.xz)?$")
# By the first bytes, in any file of a kernel package.
UNPACK = {
    b"\xfd7zXZ\0": lambda data: lzma.LZMADecompressor().decompress(data),
    b"\x28\xb5\x2f\xfd":
        lambda data: zstandard.ZstdDecompressor().decompressobj()
        .decompress(data),
}


def kernel_of(debs: dict[str, str]) -> tuple[str, str]:
    """Unpacked kernel package and the kernel's version."""
    for name, deb in debs.items():
        match = re.match(r"linux-image-(\d\S+)$", name)
        if match:
            return unpacked(deb), match[1]
    raise ImageError("no kernel among the packages")


def uncompressed_kernel(path: str) -> bytes:
    """The ELF file inside a bzImage.

    xl maps it from disk instead of unpacking it into dom0's memory, which
    takes seconds here and more memory than a small dom0 has.
    """
    with open(path, "rb") as file:
        data = file.read()
    for magic, unpack in UNPACK.items():
        start = data.find(magic)
        while start >= 0:
            try:
                kernel = unpack(data[start:])
            except (lzma.LZMAError, zstandard.ZstdError):
                kernel = b""
            if kernel.startswith(b"\x7fELF"):
                return kernel
            start = data.find(magic, start + 1)
    raise ImageError(f"{path} is compressed in a way the lab does not know")


class Modules:
    """The kernel's modules, as their own .modinfo sections tell.

    Paths are below `base`, without the suffix of a compression.
    """

    def __init__(self, tree: str, version: str):
        self.base = os.path.join(tree, "lib", "modules", version)
        if not os.path.isdir(self.base):
            self.base = os.path.join(tree, "usr/lib/modules", version)
        self._files: dict[str, str] = {}
        self._paths: dict[str, str] = {}
        for here, _, files in os.walk(self.base):
            for file in files:
                match = MODULE.match(file)
                if match:
                    where = os.path.relpath(here, self.base)
                    path = f"{where}/{match[1]}.ko"
                    self._paths[match[1].replace("-", "_")] = path
                    self._files[path] = os.path.join(here, file)
        with open(os.path.join(self.base, "modules.builtin")) as file:
            self.builtin_text = file.read()
        self.built_in = {os.path.basename(line).removesuffix(".ko")
                         .replace("-", "_")
                         for line in self.builtin_text.splitlines()}

    def __contains__(self, name: str) -> bool:
        return name.replace("-", "_") in self._paths.keys() | self.built_in

    def contents(self, path: str) -> bytes:
        with open(self._files[path], "rb") as file:
            data = file.read()
        for magic, unpack in UNPACK.items():
            if data.startswith(magic):
                return unpack(data)
        return data

    def closure(self, names: tuple[str, ...]) -> dict[str, list[str]]:
        """Modules and their dependencies: path → paths it needs."""
        found: dict[str, list[str]] = {}
        queue = [name.replace("-", "_") for name in names]
        while queue:
            name = queue.pop()
            if name in self.built_in:
                continue
            path = self._paths.get(name)
            if not path:
                raise ImageError(f"the kernel has no module {name}")
            if path in found:
                continue
            direct = re.search(rb"\0depends=([^\0]*)\0",
                               self.contents(path))
            needs = direct[1].decode().split(",") if direct else []
            needs = [n.replace("-", "_") for n in needs if n]
            found[path] = [self._paths[n] for n in needs
                           if n not in self.built_in]
            queue += needs
        return found

    def tables(self, names: tuple[str, ...]) -> tuple[str, str]:
        """The text of modules.dep and modules.alias for these."""
        found = self.closure(names)

        def below(path: str) -> list[str]:
            order: list[str] = []
            for need in found[path]:
                for each in (need, *below(need)):
                    if each in order:
                        order.remove(each)
                    order.append(each)
            return order

        deps, aliases = "", ""
        for path in sorted(found):
            deps += f"{path}: {' '.join(below(path))}".rstrip() + "\n"
            name = os.path.basename(path).removesuffix(".ko")
            for alias in re.findall(rb"\0alias=([^\0]*)",
                                    self.contents(path)):
                aliases += (f"alias {alias.decode()} "
                            f"{name.replace('-', '_')}\n")
        return deps, aliases
