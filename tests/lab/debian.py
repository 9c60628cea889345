# SPDX-License-Identifier: LGPL-2.1-or-later
"""A whole Debian on a disk, with dpkg and apt, for dom0 to run.

The lab's own dom0 has no package management.  This is a second root, made by
mmdebstrap from the distribution's packages, Xen's tools among them, on which
nothing of this project has ever been.  dom0 mounts it and enters it with
chroot; Xen, xenstored and the devices are those of the host.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import shlex
import shutil
import subprocess

from . import packages
from .cache import ImageError, cache_dir, command, locked, say
from .host import Disk, Result, XenHost
from .versions import Version, version as version_of

PLACE = "/debian"
REPOSITORY = "/var/local/packages"
SIZE_MIB = 3072
PACKAGES = ("xen-utils-{xen}", "xen-utils-common", "xenstore-utils",
            "python3-minimal", "sysvinit-utils", "procps")
# Seen by both roots.
SHARED = ("proc", "sys", "dev", "run", "tmp", "host", "data")
# What a Debian with an init of its own would have, and a chroot does not.
POLICY = "#!/bin/sh\nexit 101\n"


def depends(package: str) -> set[str]:
    """Names of the packages that a package file needs."""
    fields = command("dpkg-deb", "--field", package, "Depends")
    first = (entry.split("|")[0] for entry in fields.split(","))
    return {entry.split("(")[0].split(":")[0].strip() for entry in first}


def repository(tree: str, suite: str, more: tuple[str, ...]) -> None:
    """The named packages, and what they need, where apt in there finds them.

    dom0 has no network to fetch them from.
    """
    place = tree + REPOSITORY
    os.makedirs(place)
    have = set(os.listdir(f"{tree}/var/lib/dpkg/info"))
    wanted = [name for name in more
              if f"{name}.list" not in have and f"{name}:amd64.list"
              not in have]
    if wanted:
        packages.update(suite)
        packages.fetch(suite, wanted, place)
    with open(f"{place}/Packages", "w") as index:
        index.write(command("dpkg-scanpackages", "-m", ".", cwd=place))
    with open(f"{tree}/etc/apt/sources.list", "w") as sources:
        sources.write(f"deb [trusted=yes] file:{REPOSITORY} ./\n")
    shutil.rmtree(f"{tree}/var/lib/apt/lists")
    os.makedirs(f"{tree}/var/lib/apt/lists/partial")
    command("chroot", tree, "apt-get", "-q", "update")


def make_tree(tree: str, suite: str, names: tuple[str, ...],
              more: tuple[str, ...]) -> None:
    command("mmdebstrap", "--quiet", "--mode=root", "--variant=apt",
            "--include=" + ",".join(names),
            '--aptopt=APT::Install-Recommends "false"', suite, tree)
    for name in SHARED:
        os.makedirs(f"{tree}/{name}", exist_ok=True)
    with open(f"{tree}/usr/sbin/policy-rc.d", "w") as file:
        file.write(POLICY)
    os.chmod(f"{tree}/usr/sbin/policy-rc.d", 0o755)
    repository(tree, suite, more)


def image(names: tuple[str, ...] = PACKAGES, more: tuple[str, ...] = (),
          version: Version | None = None) -> str:
    """A disk image with these packages; `more` can be had in there by apt.

    Kept in the lab's cache: whoever writes to it copies it.
    """
    version = version or version_of()
    names = tuple(map(version.fill, names))
    recipe = [inspect.getsource(make_tree), inspect.getsource(repository),
              version.suite, str(SIZE_MIB), POLICY, *names, "",
              *sorted(more)]
    digest = hashlib.sha256("\n".join(recipe).encode()).hexdigest()
    done = os.path.join(cache_dir("debian"), digest[:16] + ".img")
    with locked("debian"):
        if os.path.exists(done):
            return done
        if not shutil.which("mmdebstrap"):
            raise ImageError("mmdebstrap is missing: run `make deps`")
        say("building a Debian for dom0")
        work = f"{done}.tree.{os.getpid()}"
        try:
            make_tree(work, version.suite, names, more)
            with open(f"{done}.new", "wb") as file:
                file.truncate(SIZE_MIB << 20)
            command("mke2fs", "-q", "-F", "-t", "ext4", "-d", work,
                    f"{done}.new")
            os.rename(f"{done}.new", done)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return done


def copy(directory: str, **options) -> Disk:
    """A disk for a host, in a test's directory."""
    path = os.path.join(directory, "debian.img")
    subprocess.run(["cp", "--sparse=always", image(**options), path],
                   check=True)
    return Disk(path, fs="ext4", mount=PLACE)


class Debian:
    """The Debian of a host that was given the disk."""

    def __init__(self, host: XenHost):
        self.host = host
        host.run("ln -sfn /proc/self/fd /dev/fd")   # udev would have
        for name in SHARED:
            host.run(f"mount --rbind /{name} {PLACE}/{name}")
        host.run(f"mkdir -p {PLACE}/var/log/xen {PLACE}/boot && "
                 f"mount --bind /host/log {PLACE}/var/log/xen && "
                 f"mount --bind /host/boot {PLACE}/boot")
        # Each xl finds what the other's has stored of a domain.
        host.run(f"mount --bind {PLACE}/var/lib/xen /var/lib/xen")

    def run(self, script: str, timeout: float = 120, check: bool = True,
            **options) -> Result:
        """A shell command in it, with root's usual environment."""
        return self.host.run(
            f"exec chroot {PLACE} /usr/bin/env -i HOME=/root TERM=linux "
            "DEBIAN_FRONTEND=noninteractive "
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:"
            f"/bin /bin/sh -c {shlex.quote(script)}", timeout, check,
            **options)

    def files(self) -> set[str]:
        """Every name on the disk, shared directories left out."""
        found = self.host.run(f"cd {PLACE} && find . -xdev -mindepth 1")
        return {line.removeprefix("./") for line in
                found.stdout.splitlines()}
