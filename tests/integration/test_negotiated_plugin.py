# SPDX-License-Identifier: LGPL-2.1-or-later
"""The plugin encodes a stream as a transport has negotiated it."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from plugin.bench import Bench, build_tools             # noqa: E402
from streamv3 import savefile                           # noqa: E402
from streamv3.generator import Generator                # noqa: E402


@pytest.fixture(scope="module")
def tools(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tools")
    build_tools(folder)
    return folder


@pytest.fixture
def bench(tools, tmp_path) -> Bench:
    return Bench(tools, tmp_path, Generator(3).pv())


def send(bench: Bench, tmp_path: Path, **env):
    """What arrives through a pipe."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with open(tmp_path / "read", "wb") as read:
        reader = subprocess.Popen(["cat", pipe], stdout=read)
        result = bench.run("save", pipe, **env)
        reader.wait(timeout=20)
    assert result.status == 0, result
    return result, (tmp_path / "read").read_bytes()


@pytest.mark.parametrize("asked", ["v2", "v3", "compat", None])
@pytest.mark.parametrize("text,v3", [
    (b"format=v3\n\0\0\0", True), (b"format=v2\n\0", False),
    (b"format=v3", True)])
def test_what_was_negotiated_is_sent(bench, tmp_path, text, v3, asked):
    """Whatever else is asked for."""
    board = tmp_path / "board"
    board.write_bytes(text)
    env = {"XL_ALIGNED_FORMAT": asked} if asked else {}
    result, data = send(bench, tmp_path, XL_ALIGNED_NEGOTIATED=str(board),
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
    result, data = send(bench, tmp_path, XL_ALIGNED_NEGOTIATED=str(board),
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
