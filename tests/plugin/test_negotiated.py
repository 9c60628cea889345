# SPDX-License-Identifier: LGPL-2.1-or-later
"""The plugin encodes a stream as a transport has negotiated it."""
import fcntl
import os
import struct
import tempfile

import pytest

from model import layout as L
from model import savefile
from model.generator import Generator, domain_header, image_header, page_data
from model.records import record
from plugin.bench import Bench


@pytest.fixture
def bench(tools, tmp_path) -> Bench:
    return Bench(tools, tmp_path, Generator(3).pv())


@pytest.mark.parametrize("asked", ["v2", "v3", "compat", None])
@pytest.mark.parametrize("text,v3", [
    (b"format=v3\n\0\0\0", True), (b"format=v2\n\0", False),
    (b"format=v3", True)])
def test_what_was_negotiated_is_sent(bench, tmp_path, text, v3, asked):
    """Whatever else is asked for."""
    board = tmp_path / "board"
    board.write_bytes(text)
    env = {"XL_ALIGNED_FORMAT": asked} if asked else {}
    result, data = bench.send(tmp_path, XL_ALIGNED_NEGOTIATED=str(board),
                              **env)
    assert not result.lines, result
    assert (data != bench.stock_file()) == v3
    assert savefile.to_v2(data) == bench.stock_file()


@pytest.mark.parametrize("text,word", [
    (None, "No such file"), (b"", "nothing that is negotiated"),
    (b"format=v4\n", "format=v4"), (b"format=compat\n", "format=compat"),
    (b"\0" * 256, "nothing that is negotiated"),
    (b"format=v3 \n", "format=v3 ")])
def test_in_doubt_it_is_v2(bench, tmp_path, text, word):
    board = tmp_path / "board"
    if text is not None:
        board.write_bytes(text)
    result, data = bench.send(tmp_path, XL_ALIGNED_NEGOTIATED=str(board),
                              XL_ALIGNED_FORMAT="v3")
    assert data == bench.stock_file()
    assert len(result.lines) == 1 and word in result.lines[0], result
    assert "warning: sending v2" in result.lines[0]


def test_files_are_not_concerned(bench, tmp_path):
    board = tmp_path / "board"
    board.write_bytes(b"format=v2\n")
    result = bench.run("save", tmp_path / "file",
                       XL_ALIGNED_NEGOTIATED=str(board))
    assert result.status == 0 and not result.lines, result
    data = (tmp_path / "file").read_bytes()
    assert savefile.to_v2(data) == bench.stock_file() != data


# ---- whether the domain runs meanwhile --------------------------------


LIVE = 2
PV = {"FAKE_PV": "yes"}


@pytest.mark.parametrize("env,negotiated,live,warns", [
    ({}, True, True, False),
    (PV, True, False, True),
    (PV | {"FAKE_SHADOW": "yes"}, True, True, False),
    # Xen refuses, and xl says so.
    (PV | {"XL_ALIGNED_LIVE": "must"}, True, True, False),
    ({"XL_ALIGNED_LIVE": "no"}, True, False, False),
    (PV | {"XL_ALIGNED_LIVE": "no"}, True, False, False),
    # Not a migration of ours.
    (PV, False, True, False),
])
def test_a_domain_that_cannot_be_logged_stands_still(
        bench, tmp_path, env, negotiated, live, warns):
    board = tmp_path / "board"
    board.write_bytes(b"format=v3\n")
    if negotiated:
        env = env | {"XL_ALIGNED_NEGOTIATED": str(board)}
    result, _ = bench.send(tmp_path, FAKE_LIVE="yes", **env)
    flags = LIVE if live else 0
    assert f"suspend domid=1 flags={flags} ao=0" in bench.log()
    if warns:
        line, = result.lines
        assert "domain 1 is paused during the migration: it is a PV " \
               "domain" in line
    else:
        assert not result.lines, result


# ---- pages per pass ---------------------------------------------------


def live_stream(passes: list) -> bytes:
    """Batches of four pfns at most; one in eight has no contents."""
    parts = [image_header(), domain_header(1)]
    for pfns in passes:
        for at in range(0, len(pfns), 4):
            part = [pfn | (0xf << 60 if pfn % 8 == 7 else 0)
                    for pfn in pfns[at:at + 4]]
            pages = [bytes([pfn & 1]) * 4096 for pfn in part if pfn < 2**60]
            parts.append(page_data(part, pages))
    return b"".join(parts) + record(L.END, b"")


SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def progress_page(seals: int = SEALS, magic: bytes = b"XLAPROG1",
                  length: int = 4096):
    """As xl-aligned makes it."""
    page = open(os.memfd_create("page", os.MFD_ALLOW_SEALING), "r+b",
                buffering=0)
    page.write(magic.ljust(length, b"\0"))
    fcntl.fcntl(page.fileno(), fcntl.F_ADD_SEALS, seals)
    page.seek(0)
    return page


def page_path(page) -> str:
    return f"/proc/{os.getpid()}/fd/{page.fileno()}"


@pytest.mark.parametrize("passes,pages", [
    ([range(64)], [56]),
    ([range(64), range(8, 16), [13]], [56, 7, 1]),
    # As many as there is room for, and the last takes the rest.
    ([range(16)] * 20, [14] * 15 + [70]),
])
def test_pages_per_pass_are_told(tools, tmp_path, passes, pages):
    bench = Bench(tools, tmp_path, live_stream(list(map(list, passes))))
    board = tmp_path / "board"
    board.write_bytes(b"format=v3\n")
    with progress_page() as page:
        bench.send(tmp_path, XL_ALIGNED_NEGOTIATED=str(board),
                   XL_ALIGNED_PROGRESS=page_path(page), FAKE_LIVE="yes")
        # struct handoff
        count, *found = struct.unpack_from("<I4x16Q", page.read(), 40)
    assert found[:count] == pages
    assert not any(found[count:])


def small_file():
    """Its name may have 63 bytes."""
    file = tempfile.NamedTemporaryFile(dir="/tmp", buffering=0)
    file.write(b"XLAPROG1".ljust(4096, b"\0"))
    file.seek(0)
    return file


@pytest.mark.parametrize("make", [
    small_file,
    lambda: progress_page(seals=0),
    lambda: progress_page(seals=fcntl.F_SEAL_SHRINK),
    lambda: progress_page(magic=b"\0"),
    lambda: progress_page(length=8192),
], ids=["file", "unsealed", "can grow", "no magic", "longer"])
def test_nothing_else_is_taken_for_the_page(tools, tmp_path, make):
    """A variable that was left over, or was set by somebody."""
    bench = Bench(tools, tmp_path, live_stream([list(range(64))]))
    board = tmp_path / "board"
    board.write_bytes(b"format=v3\n")
    with make() as page:
        before = page.read()
        path = page.name if isinstance(page.name, str) else page_path(page)
        bench.send(tmp_path, XL_ALIGNED_NEGOTIATED=str(board),
                   XL_ALIGNED_PROGRESS=str(path), FAKE_LIVE="yes")
        page.seek(0)
        assert page.read() == before
