# SPDX-License-Identifier: LGPL-2.1-or-later
"""to-core where the filesystem can share blocks or copy them itself."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from commands.cores import VMCOREINFO, expected, large, run
from commands.program import PROGRAM, in_own_mounts
from model.core_reader import read_elf, read_xen


@pytest.fixture(scope="module")
def shares(tools):
    """Preloaded, other filesystems: core_shares.c."""
    return tools / "shares.so"


def shared_bytes(log: Path, what: str) -> int:
    return sum(int(line.split()[1]) for line in log.read_text().splitlines()
               if line.startswith(what)) if log.exists() else 0


READERS = {"xen": read_xen, "elf": read_elf}


@pytest.mark.parametrize("form", ("xen", "elf"))
@pytest.mark.parametrize("way", ("clone", "copy"))
@pytest.mark.parametrize("fs", ("xfs", "btrfs"))
def test_blocks_are_shared(tmp_path, shares, fs, way, form):
    if not shutil.which(f"mkfs.{fs}", path="/usr/sbin:/sbin"):
        pytest.skip(f"no mkfs.{fs}")
    pages, saved = large(tmp_path)
    with open(tmp_path / "image", "wb") as file:
        file.truncate(512 << 20)
    done = in_own_mounts(
        '/sbin/mkfs.$4 -q "$3/image" >/dev/null\n'
        'mount -o loop "$3/image" /mnt\n'
        'cp "$2" /mnt/saved; sync; df -k --output=used /mnt\n'
        'SHARE_LOG=$3/log SHARE_CLONE=$6 LD_PRELOAD=$7'
        ' "$1" to-core --format=$5 /mnt/saved /mnt/core\n'
        'sync; df -k --output=used /mnt\n'
        'cp /mnt/core "$3/core"', PROGRAM, saved.path, tmp_path, fs, form,
        "yes" if way == "clone" else "no", shares)
    if "mount" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done
    assert READERS[form](tmp_path / "core").pages == expected(pages)
    before, after = map(int, re.findall(r"\d+", done.stdout))
    # 32 MiB of pages, of which at most a few were copied.
    assert after - before < 4 << 10
    assert shared_bytes(tmp_path / "log", way) > 31 << 20


@pytest.mark.parametrize("form", ("xen", "elf"))
@pytest.mark.parametrize("clone,copy,least,most", (
    # What copies elsewhere copies everything.
    ("no", "server", 31 << 20, 32 << 20),
    ("no", "no", 0, 0),
    # A disk that is full meanwhile: what is left is tried by direct I/O.
    ("no", "full", 256 << 10, 8 << 20),
    # Here, the page cache does it: given up after a trial.
    ("no", "", 65536, 65536)))
def test_copies_in_the_kernel(tmp_path, shares, form, clone, copy, least,
                              most):
    fs = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], text=True,
                        capture_output=True, check=True).stdout
    if "ext" not in fs:
        pytest.skip(f"what {fs.strip()} does is not known here")
    pages, saved = large(tmp_path)
    original = saved.path.read_bytes()
    env = os.environ | {"LD_PRELOAD": str(shares), "SHARE_CLONE": clone,
                        "SHARE_COPY": copy,
                        "SHARE_LOG": str(tmp_path / "log")}
    out = tmp_path / "core"
    done = run("to-core", f"--format={form}", saved.path, out, env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert READERS[form](out).pages == expected(pages)
    assert least <= shared_bytes(tmp_path / "log", "copy") <= most
    if form == "elf":
        assert read_elf(out).notes[-1] == ("VMCOREINFO", 0, VMCOREINFO)
    # What is not written is verified all the same.
    damaged = original.replace(pages[5000][2], pages[5000][2][::-1])
    assert damaged != original
    saved.path.write_bytes(damaged)
    done = run("to-core", f"--format={form}", saved.path, out, env=env)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"damaged" in done.stderr
    saved.path.write_bytes(original)
    # Every byte is written where holes are not wanted, and none shared.
    (tmp_path / "log").unlink(missing_ok=True)
    done = run("to-core", f"--format={form}", "--no-sparse", saved.path,
               out, env=env)
    assert READERS[form](out).pages == expected(pages)
    assert not shared_bytes(tmp_path / "log", "")
