# SPDX-License-Identifier: LGPL-2.1-or-later
"""--compress of convert and save, and what the other commands make of it."""
import io
import json
import subprocess

import pytest

from commands.packed import V2, convert, place
from commands.program import CONFIG, PROGRAM, run
from model import layout as L
from model import codecs, savefile
from model.audit import audit_file
from model.compressible import compressible
from model.records import walk

HOW = ("lz4", "lz4:9", "zstd", "zstd:19")


def batch_codecs(file):
    start = savefile.parse_head(file).stream_start
    return [r.body[12] & 15 for r in walk(file[start:])
            if r.type == L.ALIGNED_PAGE_DATA]


@pytest.mark.parametrize("how", HOW)
def test_convert_and_back(tmp_path, how):
    file = convert(tmp_path, how)
    data = file.read_bytes()
    codec = codecs.ZSTD if "zstd" in how else codecs.LZ4
    assert batch_codecs(data) == [codec] * 5
    assert len(data) < len(V2) * 0.8
    report, _, _ = audit_file(io.BytesIO(data))
    assert not report.faults
    for to in ("v2", "compat", "v3"):
        back = tmp_path / to
        assert run("convert", f"--to={to}", file, back).returncode == 0
        assert savefile.to_v2(back.read_bytes()) == V2
        assert to != "v2" or back.read_bytes() == V2
    assert not any(batch_codecs(back.read_bytes()))


def test_convert_through_pipes(tmp_path):
    first = subprocess.Popen(
        [PROGRAM, "convert", "--to=v3", "--compress=zstd", "-", "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    second = subprocess.Popen([PROGRAM, "convert", "--to=v2", "-", "-"],
                              stdin=first.stdout, stdout=subprocess.PIPE)
    first.stdout.close()
    first.stdin.write(V2)
    first.stdin.close()
    assert second.stdout.read() == V2
    assert first.wait() == 0 and second.wait() == 0


def test_verify_and_info(tmp_path):
    file = convert(tmp_path)
    result = run("verify", file)
    assert result.returncode == 0 and "every byte is intact" in result.stdout
    result = run("info", file)
    line, = [line for line in result.stdout.splitlines()
             if "compression" in line]
    assert "zstd: 5 of 5 batches, 5.0 MiB in" in line
    assert "5 of 5 batches begin on a multiple of 4096" in result.stdout
    found, = json.loads(run("info", "--json", "--records", file).stdout)
    packed, = found["compressed"]
    assert (packed["compression"], packed["batches"]) == ("zstd", 5)
    assert packed["pages_stored"] == found["pages_stored"] == \
        found["pages_compressed"]
    assert found["v3"]["mandatory_features"] == "0x2"
    records = [r for r in found["records"]
               if r["record_name"] == "ALIGNED_PAGE_DATA"]
    assert {r["compression"] for r in records} == {"zstd"}
    assert sum(r["bytes_stored"] for r in records) == \
        packed["bytes_stored"]
    assert found["overhead_percent"] < 5


def test_verify_finds_every_flipped_bit(tmp_path):
    data = bytearray(convert(tmp_path).read_bytes())
    for number in range(60):
        at = 2 * L.PAGE + number * (len(data) - 3 * L.PAGE) // 60
        data[at] ^= 1 << number % 8
        result = run("verify", place(tmp_path, data, "damaged"))
        assert result.returncode == 1, at
        data[at] ^= 1 << number % 8


def test_pages_and_differences(tmp_path):
    """As in a file that is not compressed."""
    packed = convert(tmp_path)
    plain = tmp_path / "plain"
    assert run("convert", "--to=v3", tmp_path / "v2", plain).returncode == 0
    result = run("diff", plain, packed)
    assert result.returncode == 0, result.stdout
    a, b = tmp_path / "a", tmp_path / "b"
    for pfns in (["1-6"], ["301", "1450", "299", "8"]):
        assert run("page", "--force", "-o", a, packed, *pfns).returncode == 0
        assert run("page", "--force", "-o", b, plain, *pfns).returncode == 0
        assert a.read_bytes() == b.read_bytes() != b""
    assert "page 3 of a compressed batch" in run("page", packed,
                                                 "4").stdout
    found, = json.loads(run("page", "--json", packed, "4").stdout)
    assert (found["kind"], found["offset"]) == ("stored", None)


@pytest.mark.parametrize("arguments, words", [
    (["--to=v2", "--compress=zstd", "a", "b"], ["only v3", "v2"]),
    (["--to=compat", "--compress=lz4", "a", "b"], ["only v3", "compat"]),
    (["--to=v3", "--compress=gzip", "a", "b"], ["gzip", "zstd:1 to zstd:19"]),
    (["--to=v3", "--compress=zstd:20", "a", "b"],
     ["zstd:20", "zstd:1 to zstd:19"]),
    (["--to=v3", "--compress=", "a", "b"], ["--compress needs a value"])])
def test_convert_refuses(arguments, words):
    result = run("convert", *arguments)
    assert result.returncode == 2
    line, = result.stderr.splitlines()
    assert all(word in line for word in words), line


def test_convert_with_none(tmp_path):
    file = convert(tmp_path, "none")
    assert not any(batch_codecs(file.read_bytes()))


@pytest.mark.parametrize("command", [["save"], ["run"]])
def test_the_plugin_is_told(xl, tmp_path, command):
    xl.will("exit:3")
    tail = ["xl", "save", "dom", "f"] if command == ["run"] \
        else ["dom", tmp_path / "f"]
    xl.run(*command, "--compress=zstd:7", *tail)
    assert xl.note("env")["XL_ALIGNED_COMPRESS"] == "zstd:7"


@pytest.mark.parametrize("command, format_", [
    ("save", "v2"), ("save", "compat"), ("run", "compat"),
    ("migrate", "v2")])
def test_other_formats_are_refused(xl, command, format_):
    result = xl.run(command, f"--format={format_}", "--compress=lz4", "xl",
                    "there")
    assert result.returncode == 2
    line, = result.stderr.splitlines()
    assert "only v3 can be compressed" in line and format_ in line
    assert not xl.notes()
    xl.will("exit:0")
    xl.run("run", f"--format={format_}", "--compress=none", "xl")
    assert xl.notes()


@pytest.mark.parametrize("identity", ({}, None, {
    "name": "web 1", "kind": "save", "key_of_2030": "a=b"}))
def test_convert_keeps_the_identity(tmp_path, identity):
    """It does not change what the file is a save of."""
    file = place(tmp_path, savefile.build(
        compressible(2, 2, 30), CONFIG, savefile.pv_tail(), "v3",
        identity=identity))
    for how in ("none", "zstd"):
        assert run("convert", "--to=v3", f"--compress={how}", file,
                   tmp_path / how).returncode == 0
        report, decoder, _ = audit_file(
            io.BytesIO((tmp_path / how).read_bytes()))
        assert not report.faults
        assert decoder.identity == identity
    assert run("convert", "--to=v2", file, tmp_path / "v2").returncode == 0
