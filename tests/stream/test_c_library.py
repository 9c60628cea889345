# SPDX-License-Identifier: LGPL-2.1-or-later
"""build/libxensave.so.0 beside the Python implementation."""
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model import layout as L
from model import codecs, savefile, vector_text, vectors
from model.audit import audit_file
from model.decoder import Decoder, decode
from model.encoder import commit, commit_stream, encode
from model.generator import Generator, page_data
from model.grown import committed, head_of, last_pages
from model.records import StreamError, record, walk
from stream import clib, differential

VECTORS = {v.filename: v for v in vector_text.load_all()}
ENODATA, EINVAL = 61, 22


@pytest.fixture(scope="session", autouse=True)
def library():
    assert clib.LIBRARY.exists(), f"{clib.LIBRARY} is missing: run make first"
    return clib.library()


def start_of(seed, format_):
    start = seed % 8 + 100 * seed
    return start if format_ == "v3" else 8 * start


def decodable(stream, format_, start):
    """A v3 stream from a sink that can be rewritten is UNFINISHED."""
    return commit_stream(stream, start) if format_ == "v3" else stream


# -- encoding ---------------------------------------------------------------

@pytest.mark.parametrize("format_", clib.FORMATS)
@pytest.mark.parametrize("seed", range(60))
def test_encodes_as_the_reference(seed, format_):
    v2 = Generator(seed).stream()
    start = start_of(seed, format_)
    options = {"head_padding": seed % 8} if format_ == "compat" else {}
    found = clib.encode(v2, format_, start, seed=seed, **options)
    assert found == encode(v2, format_, start, **options)


@pytest.mark.parametrize("seed", range(8))
def test_every_start_modulo_8(seed):
    v2 = Generator(2000 + seed).stream()
    for start in range(4088, 4096):
        found = clib.encode(v2, "v3", start, seed=seed)
        assert found == encode(v2, "v3", start)


@pytest.mark.parametrize("seed", range(10))
def test_zero_pages_kept(seed):
    v2 = Generator(seed).stream()
    assert (clib.encode(v2, "v3", keep_zero=True, seed=seed)
            == encode(v2, "v3", keep_zero=True))


def test_byte_by_byte():
    v2 = vectors.pv_minimal()
    for format_ in clib.FORMATS:
        data = clib.encode(v2, format_, seed=0)
        assert data == encode(v2, format_)
    # Chunks of one byte exactly, rather than by chance.
    saved = clib.Chunks.next
    clib.Chunks.next = lambda self: 1
    try:
        assert clib.encode(v2, "v3") == encode(v2, "v3")
        stream = commit_stream(encode(v2, "v3"))
        assert clib.decode(stream).v2 == v2
    finally:
        clib.Chunks.next = saved


# What the library never writes: the frame sizes of others, runs of bytes
# compressed by hand, what a later version may add.
NOT_WRITTEN = ("packed-lz4", "packed-zstd", "packed-zstd-1", "frames-1",
               "frames-2", "frames-1024", "longer-header", "no-index",
               "unknown-optional", "pipe")


@pytest.mark.parametrize("vector", [v for v in VECTORS.values()
                                    if not v.refused and v.format != "v2"
                                    and v.name not in NOT_WRITTEN],
                         ids=lambda v: v.filename)
def test_encodes_the_golden_vectors(vector):
    _, stream, tail = parts_of(VECTORS[f"{vector.v2}.v2.hex"])
    head = vector.data[:vector.start]
    options = {"file_id": vectors.file_id(vector.name)}
    if vector.name == "identity":
        options["identity"] = vectors.IDENTITY
    if vector.format == "compat" and head:
        options["head_padding"] = savefile.parse_head(vector.data).spare
    found = head + clib.encode(stream, vector.format, vector.start,
                               **options) + tail
    if vector.format == "v3":
        found = commit(found, vector.start)
    assert found == vector.data


def parts_of(vector):
    stream = savefile.stream_of(vector.data, vector.start)
    return (vector.data[:vector.start], stream,
            vector.data[vector.start + len(stream):])


@pytest.mark.parametrize("codec", (codecs.NONE, *codecs.MANDATORY))
@pytest.mark.parametrize("seed", range(20))
def test_identity(seed, codec):
    """Any file id, any identity; the frame size is the library's choice."""
    generator = Generator(seed)
    v2, options = generator.stream(), generator.v3_options()
    options = {name: options[name] for name in ("file_id", "identity")}
    stream = clib.encode(v2, "v3", seed, seed=seed, codec=codec, **options)
    decoder = Decoder(io.BytesIO(commit_stream(stream, seed)), seed)
    assert b"".join(decoder) == v2
    assert decoder.header.file_id == options["file_id"]
    assert decoder.identity == options["identity"]
    result = clib.decode(commit_stream(stream, seed), seed)
    assert result.error is None
    assert (result.identity or {}) == (options["identity"] or {})
    if codec == codecs.NONE:
        assert stream == encode(v2, "v3", seed, **options)


@pytest.mark.parametrize("identity", (
    {"Name": "a"}, {"": "a"}, {"x" * 32: "a"}, {"name": "\x7f"},
    {"name": "\u0085"}, {"name": "\t"}, {"na me": "a"},
    {"name": "n" * 4092}), ids=str)
def test_identities_that_are_none(identity):
    with pytest.raises(clib.LibraryError) as caught:
        clib.encode(PV, "v3", identity=identity)
    assert caught.value.errnum == EINVAL and caught.value.text


def test_every_stream_has_an_id_of_its_own():
    ids = {clib.encode(PV, "v3", file_id=bytes(16))[88:104]
           for _ in range(8)}
    assert len(ids) == 8 and bytes(16) not in ids


@pytest.mark.parametrize("format_", clib.FORMATS)
@pytest.mark.parametrize("seed", range(8))
def test_through_a_pipe(seed, format_):
    v2 = Generator(seed).stream()
    options = {"state": L.STREAMED} if format_ == "v3" else {}
    data = clib.encode_pipe(v2, format_, seed=seed)
    assert data == encode(v2, format_, **options)
    result, left = clib.decode_pipe(data + b"GO", seed=seed)
    assert result.error is None and result.v2 == v2
    assert left == b"GO"


def test_pipe_vector():
    vector = VECTORS["pipe.v3.hex"]
    assert clib.encode_pipe(vectors.pv_minimal(), "v3",
                            file_id=vectors.file_id("pipe")) == vector.data
    result, left = clib.decode_pipe(vector.data)
    assert result.v2 == vectors.pv_minimal() and left == b""


@pytest.mark.parametrize("start", range(1, 8))
def test_compat_cannot_start_anywhere(start):
    with pytest.raises(clib.LibraryError) as caught:
        clib.encode(vectors.pv_minimal(), "compat", start)
    assert caught.value.errnum == EINVAL and caught.value.text


def totals_of(v2, encoded):
    records = list(walk(encoded))
    return {"records": len(records), "bytes": len(encoded),
            "v2_bytes": len(v2)}


@pytest.mark.parametrize("format_", clib.FORMATS)
def test_totals(format_, tmp_path):
    v2 = Generator(11).stream()
    with open(tmp_path / "file", "w+b") as file:
        totals = clib.encode_fd(file.fileno(), v2, format_)
    encoded = encode(v2, format_)
    wanted = totals_of(v2, encoded)
    assert {name: totals[name] for name in wanted} == wanted
    result = clib.decode(decodable(encoded, format_, 0))
    assert {name: result.totals[name] for name in wanted} == wanted
    for name in ("batches", "pages_stored", "pages_zero"):
        assert totals[name] == result.totals[name]


# -- what an encoder is given -----------------------------------------------

PV = vectors.pv_minimal()
BAD_INPUT = {
    "not a stream": b"\0" * 200,
    "an ELF file": b"\x7fELF" + bytes(200),
    "bytes behind END": PV + b"x",
    "END with a body": PV[:-8] + record(0, bytes(8)),
    "a record above 128 MiB": PV[:40] + L.RECORD_HEADER.pack(
        9, (128 << 20) + 1) + bytes(4096),
    "big-endian": PV[:16] + b"\0\1" + PV[18:],
}


@pytest.mark.parametrize("format_", clib.FORMATS)
@pytest.mark.parametrize("name", BAD_INPUT)
def test_encoder_refuses(name, format_):
    with pytest.raises(clib.LibraryError) as caught:
        clib.encode(BAD_INPUT[name], format_)
    assert caught.value.text and "\n" not in caught.value.text


OURS = (0x414c0000, 0x414c0001, 0x414c0002, 0xc14c0003, 0xc14c0004,
        0x414c0005, 0x414c0006, 0xc14cffff)


@pytest.mark.parametrize("format_", ("v3", "compat"))
@pytest.mark.parametrize("type_", OURS, ids=hex)
def test_encoder_never_writes_what_no_decoder_takes(type_, format_):
    """A v2 stream with a record of our types: refused, or the identity."""
    v2 = PV[:40] + record(type_, bytes(32)) + PV[40:]
    try:
        encoded = clib.encode(v2, format_)
    except clib.LibraryError as error:
        assert error.text
        return
    result = clib.decode(decodable(encoded, format_, 0))
    assert result.error is None and result.v2 == v2


def test_encoder_says_that_it_wants_more():
    for cut in (0, 1, 24, 47, 200, len(PV) - 1):
        with pytest.raises(AssertionError, match="not ended"):
            clib.encode(PV[:cut], "v3")


# -- decoding ---------------------------------------------------------------

@pytest.mark.parametrize("format_", clib.FORMATS)
@pytest.mark.parametrize("seed", range(60))
def test_decodes_what_the_reference_wrote(seed, format_):
    v2 = Generator(seed).stream()
    start = start_of(seed, format_)
    stream = decodable(encode(v2, format_, start), format_, start)
    result = clib.decode(stream + b"tail", start, seed=seed)
    assert result.error is None and result.v2 == v2
    assert result.ended and result.format == format_


@pytest.mark.parametrize("format_", clib.FORMATS)
@pytest.mark.parametrize("seed", range(10))
def test_exact_reads(seed, format_):
    v2 = Generator(seed).stream()
    stream = decodable(encode(v2, format_), format_, 0)
    result = clib.decode(stream, seed=seed, exact=len(v2))
    assert result.error is None and result.v2 == v2 and result.ended
    beyond = clib.decode(stream, seed=seed, exact=len(v2) + 1)
    assert beyond.error is not None and beyond.error.errnum == ENODATA


def test_python_decodes_what_c_wrote():
    for seed in range(12):
        v2 = Generator(seed).stream()
        for format_ in clib.FORMATS:
            start = start_of(seed, format_)
            stream = clib.encode(v2, format_, start, seed=seed)
            assert decode(decodable(stream, format_, start), start) == v2


@pytest.mark.parametrize("vector", [v for v in VECTORS.values()
                                    if not v.refused],
                         ids=lambda v: v.filename)
def test_decodes_the_golden_vectors(vector):
    _, v2, _ = parts_of(VECTORS[f"{vector.v2}.v2.hex"])
    result = clib.decode(vector.data[vector.start:], vector.start, seed=1)
    assert result.error is None and result.v2 == v2
    assert result.identity == (vectors.IDENTITY if vector.name == "identity"
                               else None)


@pytest.mark.parametrize("vector", [v for v in VECTORS.values()
                                    if v.refused],
                         ids=lambda v: v.filename)
def test_refuses_the_golden_vectors(vector):
    result = clib.decode(vector.data[vector.start:], vector.start, seed=1)
    assert result.error is not None
    assert result.error.text and "\n" not in result.error.text
    assert not result.ended
    v2 = VECTORS[f"{vector.v2}.v2.hex"].data
    assert v2.startswith(result.v2) and len(result.v2) < len(v2)


def test_errors_say_what_and_where():
    vector = VECTORS["refused-page-bit.v3.hex"]
    error = clib.decode(vector.data).error
    assert error.has_offset and error.offset == 40 + 144 + 16 + 8
    assert error.record == 3 and "checksum" in error.text
    error = clib.decode(VECTORS["refused-mandatory-feature.v3.hex"].data).error
    assert "feature bit 5" in error.text
    error = clib.decode(VECTORS["refused-newer-reader.v3.hex"].data).error
    assert "4" in error.text
    error = clib.decode(VECTORS["refused-mandatory-record.v3.hex"].data).error
    assert "0x414c0007" in error.text
    cut = VECTORS["refused-cut.v3.hex"].data
    assert clib.decode(cut).error.errnum == ENODATA


def test_unfinished_is_refused_until_committed():
    stream = clib.encode(PV, "v3")
    error = clib.decode(stream).error
    assert error is not None and error.text
    assert clib.decode(commit_stream(stream)).v2 == PV


def test_pages_are_handed_out_only_when_their_batch_is_verified():
    pages = [os.urandom(4096) for _ in range(1024)]
    batch = page_data(list(range(1024)), pages)
    v2 = PV[:40] + batch + PV[40:]
    for format_ in ("v3", "compat"):
        stream = bytearray(decodable(encode(v2, format_), format_, 0))
        last = bytes(stream).index(pages[-1]) + 4095
        stream[last] ^= 0x80
        result = clib.decode(bytes(stream), seed=7)
        assert "checksum" in result.error.text
        assert len(result.v2) <= 40 + 16 + 8 * 1024
        assert v2.startswith(result.v2)


@pytest.mark.parametrize("seed", range(9))
def test_cut_at_every_record_boundary(seed):
    stream, start, v2 = differential.original(seed)
    for r in walk(stream):
        for cut in {r.offset, r.offset + 4,
                    min(r.offset + 9, len(stream) - 1)}:
            result = clib.decode(stream[:cut], start, seed=seed)
            assert result.error is not None and result.error.text
            assert result.error.errnum == ENODATA
            assert v2.startswith(result.v2)


@pytest.mark.parametrize("name", ("pv-minimal", "hvm-zero-and-stored"))
def test_both_decoders_on_flipped_bits(name):
    """All of the structure, a share of the padding and the pages."""
    for format_ in ("v3", "compat"):
        stream = VECTORS[f"{name}.{format_}.hex"].data
        places = set(range(0, 260)) | set(range(0, len(stream), 37))
        for r in walk(stream):
            places.update(range(r.offset, min(r.offset + 64, len(stream))))
        for at in places:
            changed = bytearray(stream)
            changed[at] ^= 1 << at % 8
            found = differential.disagreement(bytes(changed))
            assert found is None, f"{format_}, byte {at}: {found}"


def test_a_batch_without_pages_directly_before_the_index():
    none = page_data([0xf << 60 | 7], [])
    v2 = PV[:-8] + none + record(L.END)
    start = len(savefile.libxl_head())
    stream = committed(encode(v2, "v3", start), start)
    assert differential.disagreement(stream, start) is None
    assert differential.c_pages(head_of(start) + stream, 0) \
        == last_pages(v2)


def agree(kind, first, count):
    """In a process of its own: a crash names the seed it happened at."""
    run = subprocess.run(
        [sys.executable, "-B", "-m", "stream.differential", kind, str(first),
         str(count), "40"], cwd=Path(__file__).parents[1], text=True,
        capture_output=True, timeout=1200)
    lines = [line for line in run.stdout.splitlines() if ": " in line]
    assert run.returncode == 0, "\n".join(
        lines[:12] + run.stdout.splitlines()[-1:] + [run.stderr[-2000:]])


def blocks(few, many, step):
    """`few` seeds each time, all of `many` where time does not matter."""
    return [(0, few), *(pytest.param(first, step, marks=pytest.mark.slow)
                        for first in range(few, many, step))]


@pytest.mark.parametrize("first, count", blocks(100, 2600, 250))
def test_every_reader_on_hostile_streams(first, count):
    """40 mutations of each: 10^5 in all."""
    agree("mutated", first, count)


@pytest.mark.parametrize("first, count", blocks(250, 10250, 1000))
def test_every_reader_on_streams_of_later_versions(first, count):
    agree("grown", first, count)


# -- files ------------------------------------------------------------------

IO = [("auto", "auto"), ("auto", "thread"), ("window", "auto"),
      ("buffered", "auto"), ("buffered", "thread")]


@pytest.mark.parametrize("format_", ("v3", "compat", "v2"))
@pytest.mark.parametrize("io_, engine", IO)
def test_whole_file(tmp_path, format_, io_, engine):
    """Written, committed, probed, checked and read back by the library."""
    for seed in range(8):
        v2, config, tail = Generator(seed).parts()
        config += b" " * seed           # every length modulo 8
        path = tmp_path / f"{seed}"
        with open(path, "w+b", buffering=0) as file:
            fd = file.fileno()
            file.write(savefile.xl_head(config))
            padding = (clib.align_head(fd) if format_ == "compat" else 0)
            file.write(savefile.libxl_head())
            clib.encode_fd(fd, v2, format_, head_padding=padding, seed=seed,
                           io=io_, engine=engine, reserve=1 << 20)
            file.write(tail)
            length = file.tell()
            clib.commit(fd, clib.probe(fd), length)
        data = path.read_bytes()
        assert data == savefile.build(v2, config, tail, format_)
        report, _, _ = audit_file(io.BytesIO(data))
        assert not report.faults
        read_back(path, format_, v2, config, tail, io_, engine)


def read_back(path, format_, v2, config, tail, io_, engine):
    with open(path, "rb", buffering=0) as file:
        fd = file.fileno()
        probed = clib.probe(fd)
        assert clib.FORMATS[probed.format] == format_ and probed.xl_head
        assert file.tell() == 0
        file.seek(probed.config_offset)
        assert file.read(probed.config_length) == config
        clib.check(fd, probed)
        file.seek(probed.stream_start)
        source_io = "auto" if io_ == "window" else io_
        result = clib.decode_fd(fd, io=source_io, engine=engine, seed=1)
        assert result.error is None and result.v2 == v2
        assert file.read() == tail


def test_probe_refuses_damaged_files(tmp_path):
    """Head, tail, length and state, before a domain would be created."""
    parts = Generator(4).parts()
    good = savefile.build(*parts, "v3")
    start = savefile.parse_head(good).stream_start

    def verdict(data):
        path = tmp_path / "file"
        path.write_bytes(data)
        with open(path, "rb", buffering=0) as file:
            try:
                clib.check(file.fileno(), clib.probe(file.fileno()))
            except clib.LibraryError as error:
                assert error.text and "\n" not in error.text
                return error.text
        return None

    def flipped(at):
        return good[:at] + bytes([good[at] ^ 4]) + good[at + 1:]

    assert verdict(good) is None
    for at in [*range(0, start + 184), *range(len(good) - 8, len(good))]:
        if start <= at < start + 40:
            continue                # image and domain header: ALIGNED_CHECK
        assert verdict(flipped(at)) is not None, at
    for cut in (*range(0, start + 184, 7), len(good) // 2, len(good) - 1):
        assert verdict(good[:cut]) is not None, cut
    assert verdict(good + b"\0") is not None
    unfinished = (good[:start] + encode(parts[0], "v3", start) + parts[2])
    assert verdict(unfinished) is not None
    assert len(unfinished) == len(good)


def test_the_reference_refuses_what_the_library_must():
    """The tests above lean on the Python decoder: it must not be lenient."""
    with pytest.raises(StreamError):
        decode(VECTORS["refused-unfinished.v3.hex"].data)
