# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compression as the plugin is asked for it: settings, and negotiated."""
import os

import pytest

from model import layout as L
from model import codecs, savefile
from model.batch import Batch
from model.generator import domain_header, image_header, page_data
from model.records import record, walk
from plugin.bench import Bench


def stream() -> bytes:
    pages = [bytes([number % 9 + 1]) * 4096 for number in range(64)]
    return (image_header() + domain_header(1)
            + page_data(list(range(64)), pages)
            + page_data([100], [os.urandom(4096)]) + record(L.END))


@pytest.fixture
def bench(tools, tmp_path) -> Bench:
    return Bench(tools, tmp_path, stream())


def used(data: bytes) -> set:
    """The compressions of a file's or stream's batches."""
    start = savefile.parse_head(data).stream_start
    return {Batch.unpack(len(r.body), r.body[:L.BATCH_HEADER.size]).codec
            for r in walk(data[start:]) if r.type == L.ALIGNED_PAGE_DATA}


def configured(tmp_path, text: str) -> dict:
    (tmp_path / "conf").write_text(text)
    return {"XL_ALIGNED_CONFIG": str(tmp_path / "conf")}


@pytest.mark.parametrize("config, env, codec, warns", [
    ("", None, codecs.NONE, None),
    ("", "zstd", codecs.ZSTD, "zstd:1"),
    ("", "lz4:12", codecs.LZ4, "lz4:12"),
    ('compress = "zstd:3"\n', None, codecs.ZSTD, "zstd:3"),
    ('compress = "zstd:3"\n', "lz4", codecs.LZ4, "lz4:1"),
    ('compress = "zstd:3"\n', "none", codecs.NONE, None),
    ('compress = "none"\nformat = "v2"\n', None, None, None),
])
def test_files(bench, tmp_path, config, env, codec, warns):
    file = tmp_path / "file"
    more = configured(tmp_path, config)
    if env:
        more["XL_ALIGNED_COMPRESS"] = env
    result = bench.run("save", file, **more)
    assert result.status == 0 and not result.lines, result
    data = file.read_bytes()
    assert savefile.to_v2(data) == bench.stock_file()
    assert codec is None or used(data) == {codec, codecs.NONE}
    if warns:
        assert len(data) < len(bench.stock_file()) / 2
    result = bench.run("restore", file, **more)
    assert result.status == 0 and not result.lines, result
    assert bench.restored() == bench.stream


def test_the_format_of_one_command_wins(bench, tmp_path):
    """What the file says of compression is not for it."""
    result = bench.run("save", tmp_path / "file", XL_ALIGNED_FORMAT="compat",
                       **configured(tmp_path, 'compress = "zstd"\n'))
    assert result.status == 0 and not result.lines, result
    assert savefile.to_v2((tmp_path / "file").read_bytes()) == \
        bench.stock_file()


@pytest.mark.parametrize("config, env, words", [
    ('compress = "gzip"\n', {}, ["compress", "gzip", "zstd"]),
    ('compress = "zstd"\nformat = "v2"\n', {},
     ["conf: compress", "zstd", "v2"]),
    ("", {"XL_ALIGNED_COMPRESS": "zstd:20"},
     ["XL_ALIGNED_COMPRESS", "zstd:20", "to zstd:19"]),
    ("", {"XL_ALIGNED_COMPRESS": "lz4", "XL_ALIGNED_FORMAT": "compat"},
     ["XL_ALIGNED_COMPRESS", "lz4", "compat"]),
    ('format = "v2"\n', {"XL_ALIGNED_COMPRESS": "zstd"},
     ["XL_ALIGNED_COMPRESS", "zstd", "v2"]),
])
def test_what_cannot_be_is_said(bench, tmp_path, config, env, words):
    """And the save goes stock's way, as with every broken setting."""
    file = tmp_path / "file"
    result = bench.run("save", file, **configured(tmp_path, config), **env)
    assert result.status == 0, result
    line, = result.lines
    assert all(word in line for word in words), line
    assert file.read_bytes() == bench.stock_file()


@pytest.mark.parametrize("board, asked, codec, words", [
    ("format=v3\nfeatures=0x3\n", "zstd", codecs.ZSTD, None),
    ("format=v3\nfeatures=0x3\n", "lz4:9", codecs.LZ4, None),
    ("format=v3\nfeatures=0x2\n", "zstd", codecs.ZSTD, None),
    ("format=v3\nfeatures=0x3\n", None, codecs.NONE, None),
    ("format=v3\nfeatures=0x1\n", "zstd", codecs.NONE,
     ["sending uncompressed", "does not support zstd"]),
    ("format=v3\nfeatures=0x0\n", "lz4", codecs.NONE,
     ["sending uncompressed", "does not support lz4"]),
    ("format=v3\n", "zstd", codecs.NONE, ["sending uncompressed", "zstd"]),
    ("format=v2\nfeatures=0x0\n", "zstd", None,
     ["sending uncompressed", "stream version 2"]),
])
def test_what_was_negotiated(bench, tmp_path, board, asked, codec, words):
    (tmp_path / "board").write_bytes(board.encode() + bytes(32))
    env = {"XL_ALIGNED_COMPRESS": asked} if asked else {}
    result, data = bench.send(tmp_path, **env,
                              XL_ALIGNED_NEGOTIATED=str(tmp_path / "board"))
    if words:
        line, = result.lines
        assert all(word in line for word in words), line
    else:
        assert not result.lines, result
    if codec is None:
        assert data == bench.stock_file()
    else:
        assert used(data) == {codec, codecs.NONE}
    assert savefile.to_v2(data) == bench.stock_file()


def test_the_configuration_is_about_files(bench, tmp_path):
    """It says nothing of migrations."""
    (tmp_path / "board").write_bytes(b"format=v3\nfeatures=0x3\n\0")
    result, data = bench.send(tmp_path,
                              XL_ALIGNED_NEGOTIATED=str(tmp_path / "board"),
                              **configured(tmp_path, 'compress = "zstd"\n'))
    assert not result.lines and used(data) == {codecs.NONE}


def test_a_reader_that_is_known_gets_it(bench, tmp_path):
    result, data = bench.send(tmp_path, XL_ALIGNED_FORMAT="v3",
                              XL_ALIGNED_PIPE="yes",
                              XL_ALIGNED_COMPRESS="zstd")
    assert not result.lines and codecs.ZSTD in used(data)


def test_a_reader_that_is_not_known_gets_v2(bench, tmp_path):
    result, data = bench.send(tmp_path, XL_ALIGNED_COMPRESS="zstd")
    line, = result.lines
    assert "sending uncompressed: a pipe gets v2" in line
    assert data == bench.stock_file()


def test_it_need_not_be_said_of_a_configuration(bench, tmp_path):
    result, data = bench.send(tmp_path,
                              **configured(tmp_path, 'compress = "zstd"\n'))
    assert not result.lines and data == bench.stock_file()
