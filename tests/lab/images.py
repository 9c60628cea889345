# SPDX-License-Identifier: LGPL-2.1-or-later
"""Build the lab's boot images from Debian's packages.

Packages are downloaded and unpacked into a cache, never installed.  An image
is made of parts (gzip-compressed cpio archives) that are concatenated at
boot: the kernel takes one after the other.
"""

import contextlib
import fcntl
import gzip
import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field

from .cpio import MERGED_USR, Archive, merged

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
XEN_BIN = "usr/lib/xen-4.17/bin"
LIBRARY_DIRS = (
    "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu",
    "usr/lib/xen-4.17/lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/ceph", "usr/lib", "lib",
)
HVM_DISK_SIZE = 64 * 512  # the boot sector and what it reads
CFLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]


class ImageError(Exception):
    """The image cannot be built; the text says what to do."""


@dataclass(frozen=True)
class Part:
    """A piece of dom0's root file system."""
    packages: tuple[str, ...]
    files: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    links: dict[str, str] = field(default_factory=dict)


PARTS = {
    "base": Part(
        packages=(
            "linux-image-amd64", "xen-hypervisor-4.17-amd64",
            "xen-utils-4.17", "xen-utils-common", "libxenmisc4.17",
            "xenstore-utils", "busybox-static", "bash", "dash",
            "dropbear-bin",
            "dmsetup", "e2fsprogs", "util-linux", "util-linux-extra",
            "coreutils", "mount",
        ),
        files=(
            "bin/busybox", "bin/bash", "bin/dash", "bin/dd", "bin/sync",
            "usr/bin/stat", "usr/bin/sha256sum", "usr/bin/timeout",
            "usr/bin/fincore", "usr/bin/fallocate",
            "sbin/losetup", "sbin/mkfs.minix", "sbin/mke2fs",
            "sbin/dmsetup", "usr/sbin/dropbear", "usr/bin/dbclient",
            "usr/bin/dropbearconvert",
            f"{XEN_BIN}/xl", f"{XEN_BIN}/xenstored",
            f"{XEN_BIN}/xenconsoled", f"{XEN_BIN}/xenconsole",
            f"{XEN_BIN}/xen-init-dom0", f"{XEN_BIN}/libxl-save-helper",
            f"{XEN_BIN}/xenctx",
            "usr/bin/xenstore", "usr/bin/xenstore-ls",
            "usr/bin/xenstore-read", "usr/bin/xenstore-write",
            "usr/bin/xenstore-list", "usr/bin/xenstore-rm",
            "etc/xen/scripts/block", "etc/xen/scripts/block-common.sh",
            "etc/xen/scripts/locking.sh", "etc/xen/scripts/logging.sh",
            "etc/xen/scripts/xen-hotplug-common.sh",
            "etc/xen/scripts/xen-script-common.sh",
            "etc/xen/scripts/hotplugpath.sh",
            "usr/lib/xen-common/bin/xen-version",
        ),
        modules=(
            "xenfs", "xen-privcmd", "xen-evtchn", "xen-gntdev",
            "xen-gntalloc", "xen-blkback", "virtio_pci", "virtio_blk",
            "virtio_net", "9p", "9pnet_virtio", "crc32c_generic",
            "crc32c-intel", "ext4", "minix", "loop", "dm-mod",
            "dm-flakey", "dm-log-writes", "brd",
        ),
        links={
            "usr/sbin/mkfs.ext4": "mke2fs",
            # busybox's shell would take its own dd, stat and the like.
            "usr/bin/sh": "dash",
            "usr/sbin/modprobe": "/usr/bin/busybox",  # the kernel's own
            "usr/sbin/xl": f"/{XEN_BIN}/xl",
        },
    ),
    "hvm": Part(
        packages=("qemu-system-xen", "qemu-system-data", "seabios",
                  "xen-utils-4.17",
                  "ipxe-qemu"),
        files=(
            "usr/libexec/xen-qemu-system-i386",
            "usr/lib/xen-4.17/boot/hvmloader",
            "usr/share/seabios/bios-256k.bin",
            "usr/share/seabios/vgabios-stdvga.bin",
            "usr/share/seabios/vgabios-cirrus.bin",
            "usr/share/qemu/linuxboot_dma.bin",
            "usr/share/qemu/kvmvapic.bin",
            "usr/share/qemu/keymaps/en-us",
        ),
    ),
    "fs": Part(packages=("linux-image-amd64",), modules=("xfs", "btrfs")),
    "tls": Part(packages=("linux-image-amd64",),
                modules=("tls", "gcm", "ctr", "ghash-generic")),
    "fio": Part(packages=("fio",), files=("usr/bin/fio",)),
    "debug": Part(packages=("strace",), files=("usr/bin/strace",)),
    "python": Part(
        packages=("python3.11-minimal", "libpython3.11-minimal",
                  "libpython3.11-stdlib"),
        files=("usr/bin/python3.11", "usr/lib/python3.11"),
        links={"usr/bin/python3": "python3.11"},
    ),
}
# Named by no shared library, hence invisible to the search for them.
LOADED_AT_RUN_TIME = {
    "base": ("libgcc_s.so.1",),
    "fio": (), "hvm": (), "fs": (), "tls": (), "debug": (), "python": (),
}
DEVICES = {"dev/console": (5, 1), "dev/null": (1, 3), "dev/kmsg": (1, 11)}


def cache_dir() -> str:
    path = os.environ.get("XL_ALIGNED_LAB_CACHE",
                          os.path.join(TREE, "build", "lab"))
    path = os.path.abspath(path)
    os.makedirs(path, exist_ok=True)
    return path


def say(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)


def command(*args: str, cwd: str | None = None) -> str:
    """Run a program; its output, or an ImageError that shows it all."""
    env = dict(os.environ, LC_ALL="C")
    done = subprocess.run(args, cwd=cwd, env=env, text=True,
                          capture_output=True)
    if done.returncode:
        raise ImageError(f"{' '.join(args)}: status {done.returncode}\n"
                         f"{done.stdout}{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def locked(name: str):
    """Keep other processes from building the same thing at once."""
    with open(os.path.join(cache_dir(), f".{name}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def package_closure(seeds: tuple[str, ...]) -> list[str]:
    """The seeds and every library package below them."""
    out = command("apt-cache", "depends", "--recurse", "--no-recommends",
                  "--no-suggests", "--no-conflicts", "--no-breaks",
                  "--no-replaces", "--no-enhances", *seeds)
    names = {line for line in out.splitlines()
             if line and not line[0].isspace() and "<" not in line}
    kernels = {n for n in names if re.match(r"linux-image-\d", n)}
    wanted = re.compile(r"(lib(?!python|perl)|zlib1g)")
    names = {n for n in names if wanted.match(n) and ":" not in n}
    names |= {s for s in seeds if s != "linux-image-amd64"} | kernels
    # A name that only other packages provide has no version of its own.
    policy = command("apt-cache", "policy", *sorted(names))
    real = re.findall(r"^(\S+):\n.*\n  Candidate: (?!\(none\))", policy,
                      re.M)
    missing = set(seeds) - {"linux-image-amd64"} - set(real)
    if missing:
        raise ImageError(f"packages not found: {' '.join(sorted(missing))}:"
                         " run `make deps` (or apt-get update) first")
    return sorted(real)


def resolve(seeds: tuple[str, ...]) -> dict[str, str]:
    """Names of the package files for the seeds: package → file.

    Asking apt takes seconds, so the answer is kept until its lists change,
    and beyond where they are gone.
    """
    memory = os.path.join(cache_dir(), "resolved.json")
    try:
        with open(memory) as file:
            known = json.load(file)
    except (FileNotFoundError, ValueError):
        known = {}
    label = " ".join(seeds)
    lists = str(os.stat("/var/lib/apt/lists").st_mtime_ns)
    if label in known and known[label]["lists"] == lists:
        return known[label]["files"]
    try:
        names = package_closure(seeds)
        out = command("apt-get", "download", "--print-uris", *names)
    except ImageError as error:
        if label not in known:
            raise
        say(f"apt does not answer, packages stay as they are: {error}")
        return known[label]["files"]
    files = {match[1]: f"{match[1]}_{match[2]}"
             for match in re.finditer(r"^'.*' (\S+?)_(\S+)", out, re.M)}
    lost = set(names) - set(files)
    if lost:
        raise ImageError(f"cannot download {' '.join(sorted(lost))}")
    known[label] = {"lists": lists, "files": files}
    write_stamp(memory, json.dumps(known, indent=1))
    return files


def download(seeds: tuple[str, ...]) -> dict[str, str]:
    """Package files for the seeds: name → path of the .deb."""
    debs = os.path.join(cache_dir(), "debs")
    os.makedirs(debs, exist_ok=True)
    found = {name: os.path.join(debs, file)
             for name, file in resolve(seeds).items()}
    missing = [name for name, path in found.items()
               if not os.path.exists(path)]
    if missing:
        say(f"downloading {len(missing)} packages")
        fresh = os.path.join(debs, f"new.{os.getpid()}")
        os.makedirs(fresh)
        try:
            command("apt-get", "-o", "APT::Sandbox::User=root", "download",
                    *missing, cwd=fresh)
            for file in os.listdir(fresh):
                os.rename(os.path.join(fresh, file),
                          os.path.join(debs, file))
        finally:
            shutil.rmtree(fresh)
    lost = [p for p in found.values() if not os.path.exists(p)]
    if lost:
        raise ImageError(f"not downloaded: {' '.join(lost)}: run "
                         "apt-get update")
    return found


def unpacked(deb: str) -> str:
    """Directory with the contents of a package file."""
    root = os.path.join(cache_dir(), "unpacked",
                        os.path.basename(deb).removesuffix(".deb"))
    if not os.path.isdir(root):
        fresh = f"{root}.new.{os.getpid()}"
        os.makedirs(fresh)
        command("dpkg", "-x", deb, fresh)
        os.rename(fresh, root)
    return root


def needed(path: str) -> list[str]:
    """Libraries an ELF file asks for, its interpreter included."""
    with open(path, "rb") as file:
        if file.read(4) != b"\x7fELF":
            return []
    out = command("readelf", "-d", "-l", path)
    return (re.findall(r"\(NEEDED\).*\[(.*)\]", out) +
            re.findall(r"program interpreter: /lib64/(.*)\]", out))


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
        for where in LIBRARY_DIRS + ("lib64",):
            full = self.find(f"{where}/{soname}")
            if full:
                return f"{where}/{soname}", os.path.realpath(full)
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


class Modules:
    """The kernel's modules, as their own .modinfo sections tell."""

    def __init__(self, tree: str, version: str):
        self.base = os.path.join(tree, "lib", "modules", version)
        self._paths: dict[str, str] = {}
        for here, _, files in os.walk(self.base):
            for file in files:
                if file.endswith(".ko"):
                    name = file.removesuffix(".ko").replace("-", "_")
                    self._paths[name] = os.path.relpath(
                        os.path.join(here, file), self.base)

    def _info(self, path: str) -> bytes:
        with open(os.path.join(self.base, path), "rb") as file:
            return file.read()

    def closure(self, names: tuple[str, ...]) -> dict[str, list[str]]:
        """Modules and their dependencies: path → paths it needs."""
        found: dict[str, list[str]] = {}
        queue = [name.replace("-", "_") for name in names]
        while queue:
            name = queue.pop()
            path = self._paths.get(name)
            if not path:
                raise ImageError(f"the kernel has no module {name}")
            if path in found:
                continue
            direct = re.search(rb"\0depends=([^\0]*)\0", self._info(path))
            needs = direct[1].decode().split(",") if direct else []
            needs = [n.replace("-", "_") for n in needs if n]
            found[path] = [self._paths[n] for n in needs]
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
                                    self._info(path)):
                aliases += (f"alias {alias.decode()} "
                            f"{name.replace('-', '_')}\n")
        return deps, aliases


def compile_payload(name: str, out: str, *flags: str) -> None:
    command("cc", *CFLAGS, *flags, "-o", out,
            os.path.join(HERE, "payload", name))


def uncompressed_kernel(path: str) -> bytes:
    """The ELF file inside a bzImage.

    xl maps it from disk instead of unpacking it into dom0's memory, which
    takes seconds here and more memory than a small dom0 has.
    """
    with open(path, "rb") as file:
        data = file.read()
    start = data.find(b"\xfd7zXZ\0")
    if start < 0:
        raise ImageError(f"{path} is not compressed with xz as expected")
    return lzma.LZMADecompressor().decompress(data[start:])


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
            if here != HERE or name in ("images.py", "cpio.py"):
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


def kernel_of(debs: dict[str, str]) -> tuple[str, str]:
    """Unpacked kernel package and the kernel's version."""
    for name, deb in debs.items():
        match = re.match(r"linux-image-(\d\S+)$", name)
        if match:
            return unpacked(deb), match[1]
    raise ImageError("no kernel among the packages")


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
    archive.symlink("usr/lib/xen", "xen-4.17")
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


def ssh_key() -> str:
    key = os.path.join(cache_dir(), "id_ed25519")
    if not os.path.exists(key):
        fresh = f"{key}.new"
        for name in (fresh, fresh + ".pub"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab",
                "-f", fresh)
        os.rename(fresh + ".pub", key + ".pub")
        os.rename(fresh, key)
    return key


def build_part(name: str, work: str, debs: dict[str, str],
               have: set[str]) -> str:
    part = PARTS[name]
    roots = Roots([unpacked(deb) for deb in debs.values()])
    out = f"{work}/{name}.cpio.gz"
    with Archive(out) as archive:
        if name == "base":
            add_base(archive, work)
        elfs = []
        for path in part.files:
            elfs += add_file(archive, roots, path)
        for soname in LOADED_AT_RUN_TIME[name]:
            place = roots.library(soname)
            if place and soname not in have:
                have.add(soname)
                archive.copy(place[0], place[1])
                elfs.append(place[1])
        add_libraries(archive, roots, elfs, have)
        for path, target in part.links.items():
            archive.symlink(path, target)
        if part.modules:
            tree, version = kernel_of(debs)
            modules = Modules(tree, version)
            where = f"lib/modules/{version}"
            if name == "base":
                every = tuple(m for p in PARTS.values() for m in p.modules)
                deps, aliases = modules.tables(every)
                archive.file(f"{where}/modules.dep", deps.encode())
                archive.file(f"{where}/modules.alias", aliases.encode())
            for path in sorted(modules.closure(part.modules)):
                archive.copy(f"{where}/{path}", f"{modules.base}/{path}")
        if name == "base":
            add_busybox(archive, roots.find("bin/busybox"))
    return out


def write_stamp(path: str, text: str) -> None:
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)


def build(name: str, key: str, debs: dict[str, str]) -> str:
    """Directory with a finished part, built if it is not there yet."""
    done = os.path.join(cache_dir(), "parts", f"{name}-{key[:16]}")
    if os.path.isdir(done):
        os.utime(done)
        return done
    say(f"building part {name}")
    work = f"{done}.new.{os.getpid()}"
    os.makedirs(work)
    have: set[str] = set()
    if name != "base":
        base = build("base", *keyed("base"))
        with open(f"{base}/libraries") as file:
            have = set(file.read().split())
    build_part(name, work, debs, have)
    write_stamp(f"{work}/libraries", "\n".join(sorted(have)) + "\n")
    if name == "base":
        tree, version = kernel_of(debs)
        shutil.copy(f"{tree}/boot/vmlinuz-{version}", f"{work}/vmlinuz")
        with open(f"{work}/vmlinux", "wb") as file:
            file.write(uncompressed_kernel(f"{work}/vmlinuz"))
        build_guest_initrd(work)
        with open(f"{work}/hvm.img", "wb") as file:
            file.write(build_hvm_disk(work))
        roots = Roots([unpacked(deb) for deb in debs.values()])
        xen = roots.find("boot/xen-4.17-amd64.gz")
        with gzip.open(xen) as src, open(f"{work}/xen", "wb") as dst:
            shutil.copyfileobj(src, dst)
    os.rename(work, done)
    prune(os.path.join(cache_dir(), "parts"), f"{name}-")
    return done


def prune(directory: str, prefix: str, keep_seconds: int = 24 * 3600):
    """Remove parts that nothing has booted from for a day."""
    for name in os.listdir(directory):
        full = os.path.join(directory, name)
        age = time.time() - os.stat(full).st_mtime
        if name.startswith(prefix) and age > keep_seconds:
            shutil.rmtree(full)


def keyed(name: str) -> tuple[str, dict[str, str]]:
    """A part's key (packages and recipe) and its package files."""
    debs = download(PARTS[name].packages)
    text = recipe() + "\n".join(os.path.basename(d) for d in debs.values())
    return hashlib.sha256(text.encode()).hexdigest(), debs


def image(parts: tuple[str, ...] = ()) -> Image:
    """The boot image with these parts beside the base; built if needed."""
    with locked("image"):
        names = ["base"] + [p for p in parts if p != "base"]
        dirs = [build(name, *keyed(name)) for name in names]
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


def machine_library(soname: str) -> str:
    """A shared library installed on this machine."""
    for line in command("/sbin/ldconfig", "-p").splitlines():
        match = re.match(r"\s+(\S+) \(.*x86-64.*\) => (\S+)", line)
        if match and match[1] == soname:
            return os.path.realpath(match[2])
    raise ImageError(f"the overlay needs {soname}: neither the lab's image "
                     "nor this machine has it")
