# SPDX-License-Identifier: LGPL-2.1-or-later
"""Build the lab's boot images from Debian's packages.

Packages are downloaded and unpacked into a cache, never installed.  An image
is made of parts (gzip-compressed cpio archives) that are concatenated at
boot: the kernel takes one after the other.
"""

import gzip
import hashlib
import os
import shutil
import time
from dataclasses import dataclass

from . import packages
from .cache import (HERE, ImageError, cache_dir, command, locked, say,
                    ssh_key, write_whole)
from .cpio import MERGED_USR, Archive
from .kernel import Modules, kernel_of, uncompressed_kernel
from .packages import unpacked
from .parts import PARTS, part
from .roots import (Roots, add_file, add_libraries, machine_library,
                    needed)
from .versions import VERSIONS, Version

HVM_DISK_SIZE = 64 * 512  # the boot sector and what it reads
CFLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]
DEVICES = {"dev/console": (5, 1), "dev/null": (1, 3), "dev/kmsg": (1, 11)}


def compile_payload(name: str, out: str, *flags: str) -> None:
    command("cc", *CFLAGS, *flags, "-o", out,
            os.path.join(HERE, "payload", name))


def build_hvm_disk(work: str) -> bytes:
    """The disk an HVM guest boots; guest.py fills in its parameters."""
    source = os.path.join(HERE, "payload")
    flags = ["-m32", "-ffreestanding", "-fno-pic", "-mgeneral-regs-only",
             "-fno-stack-protector", "-fno-asynchronous-unwind-tables",
             "-fcf-protection=none", "-c"]
    objects = []
    for name in ("boot.S", "hvm.c"):
        objects.append(f"{work}/{name}.o")
        command("cc", *CFLAGS, *flags, f"{source}/{name}", "-o",
                objects[-1])
    command("ld", "-m", "elf_i386", "--no-warn-rwx-segments",
            "--oformat", "binary", "-T", f"{source}/hvm.lds", "-o",
            f"{work}/hvm.bin", *objects)
    with open(f"{work}/hvm.bin", "rb") as file:
        data = file.read()
    if len(data) > HVM_DISK_SIZE:
        raise ImageError("the HVM payload outgrew its disk: see boot.S")
    return data.ljust(HVM_DISK_SIZE, b"\0")


def recipe() -> str:
    """A digest of everything in this directory that shapes an image."""
    digest = hashlib.sha256()
    for here, dirs, files in os.walk(HERE):
        dirs[:] = sorted(set(dirs) & {"payload", "dom0"})
        for name in sorted(files):
            if here != HERE or name in ("images.py", "cpio.py", "kernel.py",
                                        "parts.py", "roots.py"):
                with open(os.path.join(here, name), "rb") as file:
                    digest.update(name.encode() + file.read())
    return digest.hexdigest()


@dataclass(frozen=True)
class Image:
    """What a host boots from."""
    xen: str
    kernel: str
    parts: tuple[str, ...]
    guest_kernel: str
    guest_initrd: str
    hvm_disk: str
    key: str
    libraries: frozenset[str]


def build_guest_initrd(work: str) -> None:
    compile_payload("guest.c", f"{work}/guest", "-static")
    with Archive(f"{work}/guest.cpio.gz", 6) as archive:
        archive.copy("init", f"{work}/guest")
        archive.directory("proc")
        archive.directory("dev")
        archive.device("dev/console", 5, 1)


def add_base(archive: Archive, work: str) -> None:
    """What the base part has beside the packages' own files."""
    for name in MERGED_USR:
        archive.directory("usr/" + name)
        archive.symlink_top(name, "usr/" + name)
    for name in ("proc", "sys", "run", "tmp", "root", "data", "host",
                 "mnt", "var/lib/xen", "var/lib/xenstored",
                 "var/log", "etc/dropbear", "dev"):
        archive.directory(name)
    archive.directory("root/.ssh", 0o700)
    archive.symlink("var/run", "/run")
    # On this machine's disk: dom0's memory is small, and logs outlive it.
    archive.symlink("var/log/xen", "/host/log")
    archive.symlink("boot", "/host/boot")
    archive.symlink("var/lock", "/run/lock")
    archive.symlink("usr/lib64/ld-linux-x86-64.so.2",
                    "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    for name, number in DEVICES.items():
        archive.device(name, *number)
    dom0 = os.path.join(HERE, "dom0")
    archive.tree(dom0)
    compile_payload("memsample.c", f"{work}/memsample")
    archive.copy("usr/bin/memsample", f"{work}/memsample")
    compile_payload("rsh.c", f"{work}/lab-rsh", "-D_GNU_SOURCE")
    archive.copy("usr/bin/lab-rsh", f"{work}/lab-rsh")
    with open(ssh_key() + ".pub", "rb") as file:
        archive.file("root/.ssh/authorized_keys", file.read(), 0o600)
    with open(ssh_key(), "rb") as file:
        archive.file("root/.ssh/id_openssh", file.read(), 0o600)


def add_busybox(archive: Archive, busybox: str) -> None:
    for name in command(busybox, "--list").split():
        where = f"usr/bin/{name}"
        if where not in archive and f"usr/sbin/{name}" not in archive:
            archive.symlink(where, "/usr/bin/busybox")


def build_part(name: str, version: Version, work: str,
               debs: dict[str, str], have: set[str]) -> None:
    each = part(name, version)
    roots = Roots([unpacked(deb) for deb in debs.values()])
    with Archive(f"{work}/{name}.cpio.gz") as archive:
        if name == "base":
            add_base(archive, work)
        elfs = []
        for path in each.files:
            elfs += add_file(archive, roots, path)
        for soname in each.loaded:
            place = roots.library(soname)
            if place and soname not in have:
                have.add(soname)
                archive.copy(place[0], place[1])
                elfs.append(place[1])
        add_libraries(archive, roots, elfs, have)
        for path, target in each.links.items():
            archive.symlink(path, target)
        if each.modules:
            tree, release = kernel_of(debs)
            modules = Modules(tree, release)
            where = f"lib/modules/{release}"
            if name == "base":
                every = tuple(m for p in PARTS.values() for m in p.modules
                              if m in modules)
                deps, aliases = modules.tables(every)
                archive.file(f"{where}/modules.builtin",
                             modules.builtin_text.encode())
                archive.file(f"{where}/modules.dep", deps.encode())
                archive.file(f"{where}/modules.alias", aliases.encode())
            for path in sorted(modules.closure(each.modules)):
                archive.file(f"{where}/{path}", modules.contents(path))
        if name == "base":
            add_busybox(archive, roots.find("bin/busybox"))


def build(name: str, version: Version) -> str:
    """Directory with a finished part, built if it is not there yet."""
    key, debs = keyed(name, version)
    label = f"{name}-{version}-"
    done = os.path.join(cache_dir("parts"), label + key[:16])
    if os.path.isdir(done):
        os.utime(done)
        return done
    say(f"building part {name} of {version}")
    work = f"{done}.new.{os.getpid()}"
    os.makedirs(work)
    have: set[str] = set()
    if name != "base":
        with open(f"{build('base', version)}/libraries") as file:
            have = set(file.read().split())
    build_part(name, version, work, debs, have)
    write_whole(f"{work}/libraries", "\n".join(sorted(have)) + "\n")
    if name == "base":
        tree, release = kernel_of(debs)
        shutil.copy(f"{tree}/boot/vmlinuz-{release}", f"{work}/vmlinuz")
        with open(f"{work}/vmlinux", "wb") as file:
            file.write(uncompressed_kernel(f"{work}/vmlinuz"))
        build_guest_initrd(work)
        with open(f"{work}/hvm.img", "wb") as file:
            file.write(build_hvm_disk(work))
        roots = Roots([unpacked(deb) for deb in debs.values()])
        xen = roots.find(version.fill("boot/xen-{xen}-amd64.gz"))
        with gzip.open(xen) as src, open(f"{work}/xen", "wb") as dst:
            shutil.copyfileobj(src, dst)
    os.rename(work, done)
    prune(cache_dir("parts"), label)
    return done


def prune(directory: str, prefix: str, keep_seconds: int = 24 * 3600):
    """Remove parts that nothing has booted from for a day."""
    for name in os.listdir(directory):
        full = os.path.join(directory, name)
        age = time.time() - os.stat(full).st_mtime
        if name.startswith(prefix) and age > keep_seconds:
            shutil.rmtree(full)


def keyed(name: str, version: Version) -> tuple[str, dict[str, str]]:
    """A part's key (packages and recipe) and its package files."""
    seeds = part(name, version).packages
    if name == "base":
        seeds += version.split
    debs = packages.download(version.suite, seeds)
    # What was built on this machine runs on no older C library; programs
    # of the older suite do on this one.
    own, order = packages.machine_suite(), [v.suite for v in VERSIONS.values()]
    if (own in order and order.index(own) > order.index(version.suite)
            and "libc6" in debs):
        debs["libc6"] = packages.download(own, ("libc6",))["libc6"]
    text = recipe() + "\n".join((*seeds, *map(os.path.basename,
                                              debs.values())))
    return hashlib.sha256(text.encode()).hexdigest(), debs


def image(version: Version, parts: tuple[str, ...] = ()) -> Image:
    """The boot image with these parts beside the base; built if needed."""
    with locked("image"):
        names = ["base"] + [p for p in parts if p != "base"]
        dirs = [build(name, version) for name in names]
        libraries: set[str] = set()
        for path in dirs:
            with open(f"{path}/libraries") as file:
                libraries |= set(file.read().split())
        return Image(
            xen=f"{dirs[0]}/xen", kernel=f"{dirs[0]}/vmlinuz",
            parts=tuple(f"{d}/{n}.cpio.gz" for d, n in zip(dirs, names)),
            guest_kernel=f"{dirs[0]}/vmlinux",
            guest_initrd=f"{dirs[0]}/guest.cpio.gz",
            hvm_disk=f"{dirs[0]}/hvm.img", key=ssh_key(),
            libraries=frozenset(libraries))


def overlay_archive(trees: list[str], image_: Image, out: str) -> None:
    """Pack directory trees with the libraries the image lacks."""
    have = set(image_.libraries)
    own, elfs = set(), []
    for tree in trees:
        for here, _, files in os.walk(tree):
            for name in files:
                full = os.path.join(here, name)
                if os.path.isfile(full) and not os.path.islink(full):
                    own.add(name)
                    elfs.append(full)
                elif os.path.islink(full):
                    own.add(name)
    with Archive(out) as archive:
        for tree in trees:
            archive.tree(tree)
        queue = elfs
        while queue:
            for soname in needed(queue.pop()):
                if soname in have or soname in own:
                    continue
                have.add(soname)
                full = machine_library(soname)
                archive.file(f"usr/lib/x86_64-linux-gnu/{soname}",
                             open(full, "rb").read(), 0o755)
                queue.append(full)
