# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the plugin writes into a file of the domain and the host."""
import re
import socket

import pytest

from model import audit, savefile
from model.generator import Generator
from plugin.bench import Bench


@pytest.fixture
def bench(tools, tmp_path) -> Bench:
    return Bench(tools, tmp_path, Generator(3).hvm())


def identity_of(data: bytes, path, streamed: bool = False) -> dict:
    path.write_bytes(data)
    report, decoder, _ = audit.audit(str(path))
    # What is missing in a stream that was not rewritten is no matter here.
    assert decoder.format == "v3" and (streamed or not report.faults)
    return decoder.identity


def test_a_file_says_what_it_is(bench, tmp_path):
    file = tmp_path / "file"
    result = bench.run("save", file, FAKE_NAME="web 1; a=b", FAKE_MEMKB="4096",
                       XL_ALIGNED_IDENTITY="name=forged\n")
    assert result.status == 0 and not result.lines, result
    identity = identity_of(file.read_bytes(), tmp_path / "copy")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
                        identity.pop("time"))
    assert re.fullmatch(r"libxl-aligned [0-9.]+", identity.pop("writer"))
    assert identity == {
        "uuid": "01234567-89ab-cdef-4645-444342413938",
        "name": "web 1; a=b", "host": socket.gethostname(),
        "xen": "4.17.7-pre", "memory_kib": "4096", "vcpus": "2",
        "guest": "pvh", "kind": "save",
    }
    assert savefile.to_v2(file.read_bytes()) == bench.stock_file()
    assert "XL_ALIGNED_IDENTITY" not in bench.helper()


def test_what_is_not_known_is_left_out(bench, tmp_path):
    file = tmp_path / "file"
    result = bench.run("save", file, FAKE_PV="yes")
    assert result.status == 0 and not result.lines, result
    identity = identity_of(file.read_bytes(), tmp_path / "copy")
    assert "name" not in identity and "xen" not in identity
    assert identity["guest"] == "pv"


@pytest.mark.parametrize("name, seen", (
    (b"a\nuuid=b\x1b[2J\x7f", "a?uuid=b?[2J?"),
    (b"bad \xff\xc3", "bad ??"),
    ("Zürich\u0085".encode(), "Zürich?"),
    pytest.param(b"x" * 5000, None, id="too long"),
))
def test_a_name_is_one_line_of_text(bench, tmp_path, name, seen):
    file = tmp_path / "file"
    result = bench.run("save", file, FAKE_NAME=name)
    assert result.status == 0 and not result.lines, result
    identity = identity_of(file.read_bytes(), tmp_path / "copy")
    assert identity.get("name") == seen
    assert identity["uuid"] == "01234567-89ab-cdef-4645-444342413938"


def test_kinds(bench, tmp_path):
    file = tmp_path / "file"
    result = bench.run("save", file, XL_ALIGNED_LIVE="yes")
    assert result.status == 0, result
    assert identity_of(file.read_bytes(),
                       tmp_path / "copy")["kind"] == "checkpoint"
    board = tmp_path / "board"
    board.write_bytes(b"format=v3\n".ljust(4096, b"\0"))
    _, data = bench.send(tmp_path, XL_ALIGNED_NEGOTIATED=str(board))
    assert identity_of(data, tmp_path / "copy",
                       streamed=True)["kind"] == "migration"
