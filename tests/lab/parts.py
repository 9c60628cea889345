# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is in dom0's root: packages, files of them and kernel modules.

Words in braces are filled in with a version's (versions.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .versions import Version


@dataclass(frozen=True)
class Part:
    """A piece of dom0's root file system."""
    packages: tuple[str, ...]
    files: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    links: dict[str, str] = field(default_factory=dict)
    # Named by no shared library, hence invisible to the search for them.
    loaded: tuple[str, ...] = ()

    def of(self, version: Version) -> Part:
        fill = version.fill
        return Part(tuple(map(fill, self.packages)),
                    tuple(map(fill, self.files)), self.modules,
                    {fill(k): fill(v) for k, v in self.links.items()},
                    self.loaded)


XEN = "usr/lib/xen-{xen}"

PARTS = {
    "base": Part(
        packages=(
            "linux-image-amd64", "xen-hypervisor-{xen}-amd64",
            "xen-utils-{xen}", "xen-utils-common", "libxenmisc{xen}",
            "xenstore-utils", "busybox-static", "bash", "dash",
            "dropbear-bin", "dmsetup", "e2fsprogs", "util-linux",
            "coreutils", "mount", "libgcc-s1",
        ),
        files=(
            "bin/busybox", "bin/bash", "bin/dash", "bin/dd", "bin/sync",
            "usr/bin/stat", "usr/bin/sha256sum", "usr/bin/timeout",
            "usr/bin/fincore", "usr/bin/fallocate",
            "sbin/losetup", "sbin/mkfs.minix", "sbin/mke2fs",
            "sbin/dmsetup", "usr/sbin/dropbear", "usr/bin/dbclient",
            "usr/bin/dropbearconvert",
            f"{XEN}/bin/xl", f"{XEN}/bin/xenstored",
            f"{XEN}/bin/xenconsoled", f"{XEN}/bin/xenconsole",
            f"{XEN}/bin/xen-init-dom0", f"{XEN}/bin/libxl-save-helper",
            f"{XEN}/bin/xenctx",
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
            "usr/lib/xen": "xen-{xen}",
            "usr/sbin/mkfs.ext4": "mke2fs",
            # busybox's shell would take its own dd, stat and the like.
            "usr/bin/sh": "dash",
            "usr/sbin/modprobe": "/usr/bin/busybox",  # the kernel's own
            "usr/sbin/xl": f"/{XEN}/bin/xl",
        },
        loaded=("libgcc_s.so.1",),
    ),
    "hvm": Part(
        packages=("{qemu}", "qemu-system-data", "seabios",
                  "xen-utils-{xen}", "ipxe-qemu"),
        files=(
            "{device_model}", f"{XEN}/boot/hvmloader",
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
        packages=("python{python}-minimal", "libpython{python}-minimal",
                  "libpython{python}-stdlib"),
        files=("usr/bin/python{python}", "usr/lib/python{python}"),
        links={"usr/bin/python3": "python{python}"},
    ),
}


def part(name: str, version: Version) -> Part:
    return PARTS[name].of(version)
