# SPDX-License-Identifier: LGPL-2.1-or-later
"""A save file that compresses, and what convert makes of it."""
from commands.program import CONFIG, run
from model import savefile
from model.compressible import compressible

V2 = savefile.build(compressible(4, 5, 300), CONFIG,
                    savefile.hvm_tail(b"physmap/0\0f0000000\0", b"\x5a" * 99),
                    "v2")


def place(folder, data, name="v2"):
    file = folder / name
    file.write_bytes(data)
    return file


def convert(folder, how="zstd", name="v3"):
    out = folder / name
    result = run("convert", "--to=v3", f"--compress={how}",
                 place(folder, V2), out)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    return out
