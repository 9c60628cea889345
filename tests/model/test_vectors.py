# SPDX-License-Identifier: LGPL-2.1-or-later
"""The golden vectors, both ways."""
import io

import pytest

from model import layout as L
from model import savefile, vector_text, vectors
from model.audit import audit_file
from model.batch import Batch, Fault
from model.decoder import Decoder, decode_some
from model.index import IndexReader
from model.records import walk
from model.xxh3 import xxh3

ALL = {vector.filename: vector for vector in vector_text.load_all()}
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
    assert len(GOOD) > 30 and len(REFUSED) >= 20
    assert {v.format for v in GOOD} == {"v2", "v3", "compat"}


def test_files_are_what_the_script_writes(tmp_path):
    written = {path.name: path.read_text()
               for path in vectors.write(tmp_path)}
    found = {path.name: path.read_text()
             for path in vector_text.DIRECTORY.glob("*.hex")}
    assert found == written


def test_readme_names_every_vector():
    readme = (vector_text.DIRECTORY / "README.md").read_text()
    assert not {v.name for v in ALL.values() if f"`{v.name}`" not in readme}


@pytest.mark.parametrize("vector", GOOD, ids=ids)
def test_decodes_to_its_v2_form(vector):
    assert to_v2(vector) == ALL[f"{vector.v2}.v2.hex"].data


@pytest.mark.parametrize(
    "vector", [v for v in GOOD if v.format == "v3"
               and v.name not in ("pipe", "no-index")], ids=ids)
def test_reads_the_same_through_the_index(vector):
    reader = IndexReader(io.BytesIO(vector.data), vector.start,
                         len(vector.data))
    form = ALL[f"{vector.v2}.v2.hex"]
    assert b"".join(reader) == savefile.stream_of(form.data, form.start)
    assert (reader.identity is not None) == (vector.name == "identity")


@pytest.mark.parametrize(
    "vector", [v for v in REFUSED if v.format == "v3"], ids=ids)
def test_is_refused_through_the_index(vector):
    with pytest.raises(Fault):
        for _ in IndexReader(io.BytesIO(vector.data), vector.start):
            pass


@pytest.mark.parametrize("vector", REFUSED, ids=ids)
def test_is_refused(vector):
    out, error = decode_some(vector.data[vector.start:], vector.start)
    assert error is not None and vector.refused in error.what
    v2 = ALL[f"{vector.v2}.v2.hex"].data
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
    assert data[40:48] == bytes.fromhex("01004c41 88000000")
    assert data[48:56] == b"XENALIGN"
    assert u64(176) == xxh3(data[40:176] + bytes(8))
    assert (u32(56), u32(60), u64(64), u64(72)) == (3, 3, 0, 1)
    assert (u32(80), u32(84)) == (4096, 2)
    file_id = data[88:104]
    assert file_id == b"------pv-minimal"
    assert u64(112) == u64(120) == len(data)    # no head, no tail
    assert u64(160) == xxh3(b"") == u64(168)
    first, batch = 184, 184 + 16 + 8
    assert u32(batch) == 0x414c0002
    assert (u32(batch + 8), u32(batch + 12)) == (3, 3)
    assert batch + 48 + 3 * 8 + 12 + u32(batch + 16) == 4096
    assert (u32(batch + 20), u64(batch + 24)) == (2 << 4, 0)
    assert u64(batch + 32) == xxh3(data[batch + 48:batch + 84])
    assert u64(batch + 40) == xxh3(file_id + data[batch:batch + 40]
                                   + bytes(8))
    pages = data[4096:4 * 4096]
    assert (u64(batch + 72), u32(batch + 80)) == (xxh3(pages), 3 * 4096)
    index = u64(128)
    assert u32(index) == 0xc14c0004
    assert u32(index + 4) == 16 + 64 + 4 * 24
    assert (u32(index + 8), u32(index + 12)) == (1, 4)
    assert u64(index + 16) == xxh3(
        file_id + data[index:index + 16] + bytes(8)
        + data[index + 24:index + 184])
    assert (u64(index + 24), u64(index + 32)) == (batch, 4096)
    assert u64(index + 88) == first
    sums = [xxh3(file_id + data[first:first + 16]),
            xxh3(file_id + data[first + 16:first + 24]), u64(batch + 40),
            xxh3(file_id + data[4 * 4096:4 * 4096 + 32]),
            xxh3(file_id + data[4 * 4096 + 32:index]), u64(index + 16)]
    assert u64(index + 104) == sums[0]
    check = index + 184
    assert u32(check) == 0x414c0005
    assert u64(check + 40) == xxh3(
        file_id + data[:40] + b"".join(s.to_bytes(8, "little") for s in sums)
        + data[check:check + 40])


@pytest.mark.parametrize(
    "vector", [v for v in GOOD if v.format != "v2"], ids=ids)
def test_pages_lie_on_4096(vector):
    stream = vector.data[vector.start:]
    pages = 0
    for r in walk(stream):
        if r.type == L.ALIGNED_PAGE_DATA:
            b = Batch.unpack(len(r.body), r.body[:40])
            first = (vector.start + r.offset + 48 + b.table_length
                     + b.pad_length)
            assert not b.pages or first % 4096 == 0
            pages += b.pages
    assert pages or vector.format == "compat" or vector.name in (
        "empty", "no-contents")
