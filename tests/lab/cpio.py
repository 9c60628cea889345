# SPDX-License-Identifier: LGPL-2.1-or-later
"""Write initramfs archives (cpio "newc") without being root."""

import os
import stat
import zlib

MERGED_USR = ("bin", "lib", "lib64", "sbin")


def merged(path: str) -> str:
    """The place of `path` in a tree where /bin and friends are links."""
    path = path.strip("/")
    first = path.split("/", 1)[0]
    return "usr/" + path if first in MERGED_USR else path


class Archive:
    """A gzip-compressed cpio archive; parents are added as needed."""

    def __init__(self, path: str, level: int = 1):
        self._file = open(path, "wb")
        self._zip = zlib.compressobj(level, zlib.DEFLATED, 31)
        self._names: set[str] = set()
        self._ino = 1
        self._size = 0

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, kind, value, trace) -> None:
        if kind is None:
            self._entry("TRAILER!!!", 0, b"")
            self._put(b"\0" * (-self._size % 512))
            self._file.write(self._zip.flush())
        self._file.close()

    def __contains__(self, name: str) -> bool:
        return merged(name) in self._names

    def _put(self, data: bytes) -> None:
        self._size += len(data)
        self._file.write(self._zip.compress(data))

    def _entry(self, name, mode, data, rdev=(0, 0)) -> None:
        raw = name.encode() + b"\0"
        fields = (self._ino, mode, 0, 0, 1, 0, len(data), 0, 0,
                  rdev[0], rdev[1], len(raw), 0)
        head = b"070701" + b"".join(b"%08X" % f for f in fields)
        self._ino += 1
        self._put(head + raw)
        self._put(b"\0" * (-self._size % 4))
        self._put(data)
        self._put(b"\0" * (-self._size % 4))

    def _add(self, name, mode, data, rdev=(0, 0)) -> None:
        name = merged(name)
        parent = os.path.dirname(name)
        if parent and parent not in self._names:
            self.directory(parent)
        if name not in self._names:
            self._names.add(name)
            self._entry(name, mode, data, rdev)

    def directory(self, name: str, mode: int = 0o755) -> None:
        self._add(name, stat.S_IFDIR | mode, b"")

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        self._add(name, stat.S_IFREG | mode, data)

    def symlink(self, name: str, target: str) -> None:
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def symlink_top(self, name: str, target: str) -> None:
        """A link of the top directory that `merged` would rewrite."""
        self._names.add(name)
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name: str, major: int, minor: int) -> None:
        self._add(name, stat.S_IFCHR | 0o600, b"", (major, minor))

    def copy(self, name: str, source: str) -> None:
        """Add a file, link or directory of this machine as `name`."""
        info = os.lstat(source)
        if stat.S_ISLNK(info.st_mode):
            self.symlink(name, os.readlink(source))
        elif stat.S_ISDIR(info.st_mode):
            self.directory(name, stat.S_IMODE(info.st_mode))
        elif stat.S_ISREG(info.st_mode):
            with open(source, "rb") as file:
                self.file(name, file.read(), stat.S_IMODE(info.st_mode))

    def tree(self, source: str) -> None:
        """Add everything below a directory of this machine."""
        for here, dirs, files in os.walk(source):
            dirs.sort()
            for name in sorted(dirs + files):
                full = os.path.join(here, name)
                inside = os.path.relpath(full, source)
                if inside not in MERGED_USR:
                    self.copy(inside, full)
