# SPDX-License-Identifier: LGPL-2.1-or-later
"""The golden vectors, both ways."""
import io

import pytest

from model import layout as L
from model import savefile, vectors
from model.audit import audit_file
from model.decoder import Decoder, decode_some
from model.records import walk
from model.xxh3 import xxh3

ALL = {vector.filename: vector for vector in vectors.load_all()}
GOOD = [v for v in ALL.values() if not v.refused]
REFUSED = [v for v in ALL.values() if v.refused]


def ids(vector):
    return vector.filename


def to_v2(vector):
    """The v2 form of a whole vector."""
    if vector.data.startswith(savefile.XL_MAGIC):
        return savefile.to_v2(vector.data)
    decoder = Decoder(io.BytesIO(vector.data[vector.start:]), vector.start,
                      len(vector.data))
    v2 = b"".join(decoder)
    return (vector.data[:vector.start] + v2
            + vector.data[decoder.source.offset:])


def test_there_are_vectors():
    assert len(GOOD) > 20 and len(REFUSED) >= 10
    assert {v.format for v in GOOD} == {"v2", "v3", "compat"}


def test_files_are_what_the_script_writes(tmp_path):
    written = {path.name: path.read_text()
               for path in vectors.write(tmp_path)}
    found = {path.name: path.read_text()
             for path in vectors.DIRECTORY.glob("*.hex")}
    assert found == written


def test_readme_names_every_vector():
    readme = (vectors.DIRECTORY / "README.md").read_text()
    assert not {v.name for v in ALL.values() if f"`{v.name}`" not in readme}


@pytest.mark.parametrize("vector", GOOD, ids=ids)
def test_decodes_to_its_v2_form(vector):
    name = "pv-minimal" if vector.name == "pipe" else vector.name
    assert to_v2(vector) == ALL[f"{name}.v2.hex"].data


@pytest.mark.parametrize("vector", REFUSED, ids=ids)
def test_is_refused(vector):
    out, error = decode_some(vector.data[vector.start:], vector.start)
    assert error is not None and vector.refused in error.what
    v2 = vectors.before_refusal(vector.name)
    assert v2.startswith(out) and len(out) < len(v2)


@pytest.mark.parametrize(
    "vector", [v for v in GOOD if v.name == "xl-file"], ids=ids)
def test_audit_of_the_whole_file(vector):
    report, decoder, length = audit_file(io.BytesIO(vector.data))
    assert not report.faults
    assert decoder.format == vector.format and length == len(vector.data)


def test_by_hand():
    """pv-minimal.v3 with offsets taken from the diagrams, not from code."""
    data = ALL["pv-minimal.v3.hex"].data
    u32 = lambda at: int.from_bytes(data[at:at + 4], "little")
    u64 = lambda at: int.from_bytes(data[at:at + 8], "little")
    assert data[40:48] == bytes.fromhex("01004c41 78000000")
    assert data[48:56] == b"XENALIGN"
    header = data[40:160] + bytes(8)
    assert u64(160) == xxh3(header)
    assert (u32(56), u32(60), u64(64), u64(72)) == (3, 3, 0, 1)
    assert (u32(80), u32(84)) == (4096, 2)
    assert u64(96) == u64(104) == len(data)      # no head, no tail
    assert u64(144) == xxh3(b"") == u64(152)
    batch = 40 + 128 + 16 + 8
    assert u32(batch) == 0x414c0002
    assert (u32(batch + 8), u32(batch + 12)) == (3, 3)
    assert batch + 8 + 24 + 24 + u32(batch + 16) == 4096
    pages = data[4096:4 * 4096]
    assert u64(batch + 24) == xxh3(
        pages + data[batch:batch + 24] + bytes(8)
        + data[batch + 32:batch + 56])
    index = u64(112)
    assert u32(index) == 0xc14c0004 and u32(index + 4) == 56
    assert u64(index + 16) == xxh3(
        data[index:index + 16] + bytes(8) + data[index + 24:index + 64])
    assert (u64(index + 24), u64(index + 56)) == (batch, 4096)
    check = index + 64
    assert u32(check) == 0x414c0005
    assert u64(check + 40) == xxh3(
        data[:40] + data[168:batch] + data[batch + 24:batch + 32]
        + data[4 * 4096:index] + data[index + 16:index + 24]
        + data[check:check + 40])


@pytest.mark.parametrize(
    "vector", [v for v in GOOD if v.format != "v2"], ids=ids)
def test_pages_lie_on_4096(vector):
    stream = vector.data[vector.start:]
    pages = 0
    for r in walk(stream):
        if r.type == L.ALIGNED_PAGE_DATA:
            count, stored, pad = (int.from_bytes(r.body[i:i + 4], "little")
                                  for i in (0, 4, 8))
            first = vector.start + r.offset + 8 + 24 + 8 * count + pad
            assert not stored or first % 4096 == 0
            pages += stored
    assert pages or vector.format == "compat" or vector.name in (
        "empty", "no-contents")
