# SPDX-License-Identifier: LGPL-2.1-or-later
"""The C library's memory, and heads of files that it is handed."""
import os
import random
import subprocess
import sys
from array import array
from pathlib import Path

import pytest

from model import layout as L
from model import savefile, vectors
from model.encoder import FILE_ID
from model.header import header_record
from model.generator import Generator, page_data
from model.records import record
from model.xxh3 import xxh3
from stream import clib

TESTS = Path(__file__).parents[1]
MIB = 1 << 20
ALLOWED_MIB = 48
PV = vectors.pv_minimal()

# A process that decodes or encodes fd 0 and says by how much its peak grew.
CHILD = """
import ctypes as C, os, sys
from stream import clib
def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) // 1024
lib, error = clib.library(), clib.Error()
buffer = C.create_string_buffer(1 << 16)
if sys.argv[1] == "decode":
    source = lib.xensave_source_open_stream(0, C.byref(error))
    decoder = lib.xensave_decoder_new(source)
    before, total = peak(), 0
    while decoder:
        n = lib.xensave_decoder_read_some(decoder, buffer, len(buffer))
        if n <= 0:
            break
        total += n
else:
    fd = os.open("/dev/null", os.O_WRONLY)
    sink = lib.xensave_sink_open_stream(fd, C.byref(error))
    options = clib.EncoderOptions(2, 0, False)
    encoder = lib.xensave_encoder_new(sink, C.byref(options))
    before, total = peak(), 0
    while True:
        n = os.readv(0, [buffer])
        if n == 0 or lib.xensave_encoder_push(encoder, buffer.raw[:n], n):
            break
        total += n
print(peak() - before, total, error.text.decode())
"""


@pytest.fixture(scope="module", autouse=True)
def library():
    assert clib.LIBRARY.exists(), f"{clib.LIBRARY} is missing: run make first"


def peak_growth(what, pieces):
    """(MiB, bytes, error text) of a child that is fed the pieces."""
    child = subprocess.Popen(
        [sys.executable, "-B", "-c", CHILD, what], cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False)
    try:
        for piece in pieces:
            child.stdin.write(piece)
        child.stdin.close()
    except BrokenPipeError:
        pass
    out = child.stdout.read().decode().split(" ", 2)
    assert child.wait() == 0
    return int(out[0]), int(out[1]), out[2].strip()


def zeros(length):
    piece = bytes(MIB)
    while length:
        yield piece[:min(length, MIB)]
        length -= min(length, MIB)


def streamed(*records):
    """The beginning of a STREAMED v3 stream."""
    header = L.AlignedHeader(state=L.STREAMED, file_id=FILE_ID)
    return PV[:40] + header_record(header) + b"".join(records)


def test_a_large_context_record_is_not_held():
    length = 128 * MIB

    def pieces(first):
        yield first + L.RECORD_HEADER.pack(0x9, length)
        yield from zeros(length)

    for what, first in (("decode", streamed()), ("decode", PV[:40]),
                        ("encode", PV[:40])):
        grown, total, _ = peak_growth(what, pieces(first))
        assert total >= length
        assert grown <= ALLOWED_MIB, f"{what}: {grown} MiB"


def test_page_data_that_is_none_is_not_held():
    """Count 0, but 128 MiB long: left alone, and passed through."""
    length = 128 * MIB

    def pieces(first):
        yield first + L.RECORD_HEADER.pack(L.PAGE_DATA, length)
        yield from zeros(length)

    for what, first in (("decode", streamed()), ("encode", PV[:40])):
        grown, total, _ = peak_growth(what, pieces(first))
        assert grown <= ALLOWED_MIB, f"{what}: {grown} MiB"


def test_lengths_that_claim_much_cost_nothing():
    for type_ in (L.ALIGNED_PAGE_DATA, L.ALIGNED_INDEX, L.PADDING,
                  L.ALIGNED_CHECK):
        claim = L.RECORD_HEADER.pack(type_, 128 * MIB)
        first = PV[:40] if type_ == L.PADDING else streamed()
        grown, _, text = peak_growth("decode", [first + claim])
        assert grown <= 8 and text


def test_a_large_index_is_not_held():
    """16 MiB of entries."""
    empty = record(L.OPTIONAL | 0x77)
    count = (16 * MIB) // L.INDEX_RECORD.size
    first = streamed()
    at = len(first)
    entries = array("Q", bytes(L.INDEX_RECORD.size * count))
    entries[0::3] = array("Q", range(at, at + 8 * count, 8))
    entries[1::3] = array("Q", L.RECORD_HEADER.unpack(empty)[:1] * count)
    entries[2::3] = array("Q", [xxh3(FILE_ID + empty)] * count)
    index = L.RECORD_HEADER.pack(
        L.ALIGNED_INDEX, L.INDEX_HEADER.size + L.INDEX_RECORD.size * count)
    body = entries.tobytes()
    checksum = L.U64.pack(xxh3(FILE_ID + index + L.INDEX_HEADER.pack(
        0, count, 0) + body))
    totals = L.RECORD_HEADER.pack(L.ALIGNED_CHECK, 40) + b"".join(
        map(L.U64.pack, (0, 0, 0, 2 + count)))
    check = xxh3(FILE_ID + PV[:40] + entries[2::3].tobytes() + checksum
                 + totals)
    stream = [first, empty * count, index,
              L.INDEX_HEADER.pack(0, count, 0)[:8] + checksum, body,
              totals, L.U64.pack(check), record(L.END)]
    grown, total, text = peak_growth("decode", stream)
    assert (total, text) == (48 + 8 * count, "")
    assert grown <= 8, f"{grown} MiB"


def test_many_batches_cost_only_their_index():
    """4096 batches, 16 entries to the KiB."""
    page = os.urandom(4096)
    batches = (page_data([n], [page]) for n in range(4096))
    grown, _, text = peak_growth(
        "encode", [PV[:40], *batches, record(L.END)])
    assert text == "" and grown <= 8


# -- heads ------------------------------------------------------------------

def probe(tmp_path, data, libxl_offset=(1 << 64) - 1):
    path = tmp_path / "file"
    path.write_bytes(data)
    with open(path, "rb", buffering=0) as file:
        found = clib.probe(file.fileno(), libxl_offset)
        assert file.tell() == 0
        clib.check(file.fileno(), found)
        return found


@pytest.mark.parametrize("format_", clib.FORMATS)
def test_probe(tmp_path, format_):
    v2, config, tail = Generator(6).parts()
    for spaces in range(8):
        data = savefile.build(v2, config + b" " * spaces, tail, format_)
        head = savefile.parse_head(data)
        found = probe(tmp_path, data)
        assert clib.FORMATS[found.format] == format_
        assert (found.stream_start, found.libxl_offset) == (
            head.stream_start, head.libxl_offset)
        assert found.config_length == len(head.config)
        assert found.file_size == len(data) and not found.is_device
        assert (found.xen_major, found.xen_minor) == (4, 17)
        assert found.image_version == 3
        assert found.guest_type == v2[24]
        if format_ == "compat":
            assert found.head_padding == head.spare


@pytest.mark.parametrize("format_", clib.FORMATS)
def test_probe_behind_another_head(tmp_path, format_):
    head = b"another toolstack's" + bytes(5)
    data = head + savefile.libxl_head() + vectors.pv_minimal()
    found = probe(tmp_path, data, len(head))
    assert not found.xl_head and found.stream_start == len(head) + 24
    with pytest.raises(clib.LibraryError):
        probe(tmp_path, data)
    with pytest.raises(clib.LibraryError):
        probe(tmp_path, data, len(head) + 8)


def test_probe_of_damaged_heads(tmp_path):
    """Every outcome is an answer or a line of text."""
    rng = random.Random(8)
    answered = 0
    for format_ in clib.FORMATS:
        data = savefile.build(*Generator(6, 4).parts(), format_)
        start = savefile.parse_head(data).stream_start
        for _ in range(400):
            changed = bytearray(data)
            at = rng.randrange(start + 176)
            for i in range(at, min(at + rng.choice((1, 4, 8)), len(data))):
                changed[i] = rng.choice((0, 1, 0x7f, 0x80, 0xff))
            changed = changed[:rng.choice((len(data), len(data), at + 1))]
            try:
                probe(tmp_path, bytes(changed))
                answered += 1
            except clib.LibraryError as error:
                assert error.text and "\n" not in error.text
                assert error.errnum
    assert 0 < answered < 1200


@pytest.mark.parametrize("spaces", range(8))
def test_align_head(tmp_path, spaces):
    config = b"{}" + b" " * spaces
    path = tmp_path / "file"
    path.write_bytes(savefile.xl_head(config))
    with open(path, "r+b", buffering=0) as file:
        file.seek(0, os.SEEK_END)
        padding = clib.align_head(file.fileno())
        assert file.tell() == os.fstat(file.fileno()).st_size
        assert padding < 8 and (file.tell() + 24) % 8 == 0
    assert path.read_bytes() == savefile.xl_head(config, padding)


def test_align_head_of_another_toolstack(tmp_path):
    path = tmp_path / "file"
    for length in range(16):
        path.write_bytes(b"t" * length)
        with open(path, "r+b", buffering=0) as file:
            file.seek(0, os.SEEK_END)
            if length % 8 == 0:
                assert clib.align_head(file.fileno()) == 0
            else:
                with pytest.raises(clib.LibraryError) as caught:
                    clib.align_head(file.fileno())
                assert caught.value.errnum == 22 and caught.value.text
        assert path.read_bytes() == b"t" * length
