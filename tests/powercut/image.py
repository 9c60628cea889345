# SPDX-License-Identifier: LGPL-2.1-or-later
"""Looks into a disk image with ext4 as a host would find it at its boot."""
from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass

PLACES = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class ImageUnsound(Exception):
    """The filesystem was more than a journal to be replayed."""


@dataclass(frozen=True)
class Found:
    """A regular file of the top directory."""
    inode: int
    mode: int
    size: int


def tool(name: str) -> str:
    path = shutil.which(name, path=PLACES)
    if not path:
        raise FileNotFoundError(f"{name} is missing: run `make deps`")
    return path


def make_filesystem(path: str, size: int, spare: int) -> None:
    """An image with ext4 on all but the last `spare` bytes."""
    with open(path, "wb") as file:
        file.truncate(size)
    # Nothing is to be written later that is not a file's.
    subprocess.run(
        [tool("mkfs.ext4"), "-q", "-F", "-b", "4096", "-E",
         "lazy_itable_init=0,lazy_journal_init=0", path,
         str((size - spare) // 4096)], check=True)


def recover(image: str) -> None:
    """Replays the journal; more must not be needed."""
    done = subprocess.run([tool("e2fsck"), "-f", "-p", image], text=True,
                          capture_output=True)
    if done.returncode & ~1:
        raise ImageUnsound(f"{image}: e2fsck: status {done.returncode}\n"
                           f"{done.stdout}{done.stderr}")


def debugfs(image: str, request: str) -> str:
    done = subprocess.run([tool("debugfs"), "-R", request, image],
                          text=True, capture_output=True, check=True)
    complaint = "\n".join(line for line in done.stderr.splitlines()
                          if not line.startswith("debugfs "))
    if complaint:
        raise ImageUnsound(f"{image}: debugfs {request}: {complaint}")
    return done.stdout


def files(image: str) -> dict[str, Found]:
    """The regular files of the top directory, by name."""
    out = {}
    for line in debugfs(image, "ls -p /").splitlines():
        fields = line.split("/")
        if len(fields) >= 7 and fields[2].startswith("10"):
            out[fields[5]] = Found(int(fields[1]), int(fields[2], 8),
                                   int(fields[6] or 0))
    return out


def extract(image: str, found: Found, path: str) -> None:
    debugfs(image, f"dump <{found.inode}> {path}")


def digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
