# SPDX-License-Identifier: LGPL-2.1-or-later
"""What programs rely on: exported names, options that grow, the examples."""
import ctypes as C
import os
import subprocess
from pathlib import Path

import pytest

from model import savefile
from model.generator import Generator
from stream import clib

TREE = Path(__file__).parents[2]
BUILD = clib.LIBRARY.parent
EXAMPLES = TREE / "docs" / "examples"
EINVAL, E2BIG = 22, 7


def test_exported_names():
    lines = subprocess.run(
        ["nm", "--dynamic", "--defined-only", clib.LIBRARY], check=True,
        capture_output=True, text=True).stdout.splitlines()
    names = [line.split()[2] for line in lines]
    functions = [name for name in names if name != "XENSAVE_0.1"]
    assert len(functions) > 50
    assert all(name.startswith("xensave_") and name.endswith("@@XENSAVE_0.1")
               for name in functions)
    assert {name.split("@")[0] for name in functions} >= set(clib._PROTOTYPES)


class Longer(C.Structure):
    _fields_ = [("known", clib.IoOptions), ("later", C.c_uint64)]


def open_sink(path, options):
    error = clib.Error()
    with open(path, "wb") as file:
        sink = clib.library().xensave_sink_open_file(
            file.fileno(),
            C.cast(C.byref(options), C.POINTER(clib.IoOptions)),
            C.byref(error))
        if not sink:
            raise clib.LibraryError(error)
        clib.library().xensave_sink_free(sink)


def test_options_of_another_version(tmp_path):
    options = Longer(clib.IoOptions(), 0)
    options.known.size = C.sizeof(options)
    open_sink(tmp_path / "file", options)
    options.later = 1
    with pytest.raises(clib.LibraryError) as refused:
        open_sink(tmp_path / "file", options)
    assert refused.value.errnum == E2BIG
    # An older caller's struct ends before what the library looks at.
    options = clib.IoOptions(0, 0, 12345)
    options.size = clib.IoOptions.buffer_size.offset
    open_sink(tmp_path / "file", options)
    options.size = C.sizeof(options)
    with pytest.raises(clib.LibraryError) as refused:
        open_sink(tmp_path / "file", options)
    assert refused.value.errnum == EINVAL


def test_options_without_a_size(tmp_path):
    options = clib.IoOptions()
    options.size = 0
    with pytest.raises(clib.LibraryError) as refused:
        open_sink(tmp_path / "file", options)
    assert refused.value.errnum == EINVAL


def compile_example(name, *arguments):
    subprocess.run(
        ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror",
         f"-I{TREE}/stream-v3/include", f"-I{TREE}/libxl-aligned",
         EXAMPLES / name, *arguments], check=True)


@pytest.mark.parametrize("format_", clib.FORMATS)
def test_example_verify(tmp_path, format_):
    program, file = tmp_path / "verify", tmp_path / "file"
    compile_example("verify.c", f"-L{BUILD}", "-lxensave", "-o", program)
    data = savefile.build(Generator(3).stream(), b"{}\0", savefile.pv_tail(),
                          format_)
    file.write_bytes(data)

    def verify():
        return subprocess.run(
            [program, file], capture_output=True, text=True,
            env={**os.environ, "LD_LIBRARY_PATH": str(BUILD)})

    result = verify()
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{format_}: ")
    file.write_bytes(data[:len(data) // 2])
    result = verify()
    assert result.returncode == 1
    assert result.stderr.startswith(f"{file}: ")


def test_example_toolstack(tmp_path):
    compile_example("toolstack.c", "-c", "-o", tmp_path / "toolstack.o")
