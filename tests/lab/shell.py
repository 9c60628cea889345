# SPDX-License-Identifier: LGPL-2.1-or-later
"""Put a person at the shell of a lab host's dom0."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from . import guest
from .host import LabError, XenHost, host_pair
from .cache import TREE, ImageError
from .parts import PARTS

GREETING = """\

You are root in dom0 of a real Xen {xen} host, emulated by QEMU.

  xl list                        the domains
  xl create /root/pv.cfg         a PV guest   (256 MiB, 64 MiB of noise)
  xl create /root/pvh.cfg        a PVH guest
  xl create /root/hvm.cfg        an HVM guest with a device model
  tail -f /var/log/xen/guest-pv.log
                                 its verdict on its own memory, each second
  xl save pv /data/pv.save       /data is ext4 on a disk of this machine
  xl restore /data/pv.save       ... and the verdicts go on
  grep -E '^(Cached|Buffers)' /proc/meminfo
                                 dom0's page cache
{more}
Leave with `exit` or Ctrl-D: the host is switched off and its disk removed.
"""
JOINED = """\
  xl migrate -s lab-rsh pvh xen2
                                 to the second host ({other})
  ssh xen2                       ... and its shell
"""


def samples(host: XenHost) -> list[guest.Guest]:
    out = [guest.pv("pv"), guest.pvh("pvh")]
    if "hvm" in host.parts:
        out.append(guest.hvm("hvm"))
    return out


def furnish(host: XenHost) -> None:
    for each in samples(host):
        host.prepare(each)
        host.write_text(f"/root/{each.name}.cfg", each.config())


def converse(host: XenHost, more: str) -> int:
    host.write_text("/root/.greeting",
                    GREETING.format(more=more, xen=host.version))
    script = "cat /root/.greeting; exec bash -l"
    return subprocess.call(host.ssh_command(script, tty=True))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="tests.lab", description=__doc__,
        epilog="Parts: " + ", ".join(sorted(PARTS)) + ".")
    parser.add_argument("--memory", type=int, default=4096,
                        help="MiB of the machine (default %(default)s)")
    parser.add_argument("--dom0-mem", type=int, default=1024,
                        help="MiB of dom0 (default %(default)s)")
    parser.add_argument("--overlay", action="append",
                        help="a directory tree laid over dom0's root "
                        "(default build/overlay, if there is one)")
    parser.add_argument("--part", action="append", default=["hvm"],
                        choices=sorted(PARTS), help="more of the image")
    parser.add_argument("--disk", help="a data disk to keep; it is made "
                        "if it does not exist")
    parser.add_argument("--pair", action="store_true",
                        help="two joined hosts, for migration")
    parser.add_argument("command", nargs="*",
                        help="run this in dom0 instead of a shell")
    args = parser.parse_args(argv)
    if args.overlay is None:
        built = os.path.join(TREE, "build", "overlay")
        args.overlay = [built] if os.path.isdir(built) else []
    settings = dict(memory=args.memory, dom0_mem=args.dom0_mem,
                    overlays=tuple(args.overlay),
                    parts=tuple(dict.fromkeys(args.part)))
    if args.disk:
        settings["data"] = os.path.abspath(args.disk)
    print("lab: booting Xen (10 s or so) ...", file=sys.stderr)
    try:
        if args.pair:
            with host_pair(**settings) as (first, second):
                furnish(first)
                for each in samples(second):
                    second.prepare(each)
                return talk(first, args, JOINED.format(other="10.77.0.2"))
        with XenHost(**settings) as host:
            furnish(host)
            return talk(host, args, "")
    except (ImageError, LabError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def talk(host: XenHost, args, more: str) -> int:
    if not args.command:
        return converse(host, more)
    job = subprocess.run(host.ssh_command(" ".join(args.command)))
    return job.returncode


if __name__ == "__main__":
    sys.exit(main())
