# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compressed batches (spec 3.2.1): both encoders, both decoders."""
import io
import os
import random
import struct
import threading
import time
from itertools import accumulate

import pytest

from model import layout as L
from model import codecs, savefile
from model.audit import audit_file
from model.batch import Batch
from model.compressible import compressible, stream, words
from model.decoder import Decoder, Observer, decode, decode_some
from model.encoder import commit_stream, encode_v3
from model.generator import Generator, page_data
from model.header import header_of
from model.mutate import Sealed
from model.records import record, walk
from stream import clib

CODECS = (codecs.LZ4, codecs.ZSTD)
KINDS = [(codec, level) for codec, levels in
         ((codecs.LZ4, (0, 1, 2, 9, 12)), (codecs.ZSTD, (0, 1, 3, 19)))
         for level in levels]


class Collector(Observer):
    def __init__(self):
        self.batches = []

    def batch(self, batch):
        self.batches.append(batch)


def seen(data: bytes, start: int = 0) -> tuple:
    """(v2, batches) as the Python decoder has them."""
    observer = Collector()
    v2 = b"".join(Decoder(io.BytesIO(data), start, observer=observer))
    return v2, observer.batches


# -- words ----------------------------------------------------------------------

@pytest.mark.parametrize("text, codec, level, all_", [
    ("none", 0, 0, False), ("lz4", 1, 1, False), ("lz4:12", 1, 12, False),
    ("zstd", 2, 1, False), ("zstd:19", 2, 19, False),
    ("lz4:all", 1, 1, True), ("zstd:7:all", 2, 7, True)])
def test_words(text, codec, level, all_):
    assert clib.parse_compression(text) == (codec, level, all_)
    assert clib.codec_name(codec) == text.partition(":")[0]


@pytest.mark.parametrize("text", [
    "", "no", "None", "lz", "lz44", "lz4:", "lz4:0", "lz4:13", "zstd:20",
    "zstd:-1", "zstd:1x", "zstd: 1", "zstd:99999999999999999999", "none:1",
    ":1", "zstd:3:4", "none:all", "zstd:all:3", "zstd:3:all:", "zstd:3all",
    "zstd:al", "lz4::all", "zstd:0:all"])
def test_no_words(text):
    with pytest.raises(ValueError):
        clib.parse_compression(text)


# -- round trips ------------------------------------------------------------------

@pytest.mark.parametrize("codec, level", KINDS)
def test_c_encodes_what_both_decode(codec, level):
    v2 = compressible(level)
    out = commit_stream(clib.encode(v2, "v3", 3, codec=codec, level=level), 3)
    decoded, batches = seen(out, 3)
    assert decoded == v2 == clib.decode(out, 3, seed=level).v2
    assert [b.batch.codec for b in batches] == [codec] * 3
    assert all(b.pages_offset % L.PAGE == 0 for b in batches)
    assert all(0 < b.batch.stored <= L.PAGE * (b.pages - 1) for b in batches)
    plain = clib.encode(v2, "v3", 3)
    assert len(out) < len(plain) * 0.9


@pytest.mark.parametrize("codec", CODECS)
def test_python_encodes_what_both_decode(codec):
    for seed in range(12):
        v2 = compressible(seed) if seed % 3 else Generator(seed).stream()
        out = commit_stream(encode_v3(v2, seed, codec=codec), seed)
        assert decode(out, seed) == v2
        result = clib.decode(out, seed, seed=seed)
        assert result.error is None and result.ended and result.v2 == v2


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("threads", (1, 2, 4))
def test_generated_streams(codec, threads):
    """Of every kind, in pushes of every size, from pipes and files."""
    for seed in range(30):
        v2 = Generator(seed).stream()
        start = seed % 8
        out = clib.encode(v2, "v3", start, seed=seed, codec=codec,
                          threads=threads)
        out = commit_stream(out, start)
        assert decode(out, start) == v2
        result = clib.decode(out, start, seed=seed)
        assert result.error is None and result.v2 == v2
        piped = clib.encode_pipe(v2, "v3", seed, codec=codec,
                                 threads=threads)
        assert decode(piped) == v2


@pytest.mark.parametrize("codec", CODECS)
def test_order_is_kept_whatever_a_batch_costs(codec):
    """Batches that cost much and little, with records between them."""
    rng = random.Random(codec)
    parts = []
    for number in range(60):
        count = rng.choice((1, 2, 300, 1024))
        pages = (words(number, 8) * 128)[:count]
        if number % 3 == 0:
            pages = [rng.randbytes(L.PAGE) for _ in range(count)]
        first = 2000 * number
        parts.append(page_data(list(range(first, first + count)), pages))
        if number % 10 == 5:
            parts.append(record(0x80000100, b"between"))
            parts.append(page_data([0xf << 60 | first], []))
    v2 = stream(*parts)
    out = commit_stream(clib.encode(v2, "v3", codec=codec, threads=3))
    decoded, batches = seen(out)
    assert decoded == v2
    assert {b.batch.codec for b in batches} == {codecs.NONE, codec}
    report = audited(v2, codec)
    assert report.with_contents == 60


def audited(v2: bytes, codec: int, folder=None, **options):
    """A whole file of the C library, audited: in memory, or in a folder."""
    config = b'{"c_info":{"name":"packed"}}'
    head = savefile.xl_head(config) + savefile.libxl_head()
    fd = (os.open(folder / "packed", os.O_RDWR | os.O_CREAT) if folder
          else os.memfd_create("packed"))
    try:
        os.write(fd, head)
        totals = clib.encode_fd(fd, v2, "v3", codec=codec, **options)
        assert totals["v2_bytes"] == len(v2)
        os.write(fd, savefile.pv_tail())
        length = os.lseek(fd, 0, os.SEEK_CUR)
        clib.commit(fd, clib.probe(fd), length)
        clib.check(fd, clib.probe(fd))
        os.lseek(fd, len(head), os.SEEK_SET)
        assert clib.decode_fd(fd).v2 == v2
        with os.fdopen(os.dup(fd), "rb") as file:
            report, _, _ = audit_file(file)
    finally:
        os.close(fd)
    assert not report.faults
    return report


@pytest.mark.parametrize("codec", CODECS)
def test_files(codec):
    for seed in range(6):
        audited(compressible(seed, 4, 200), codec)


@pytest.mark.parametrize("all_", (True, False))
@pytest.mark.parametrize("engine", ("uring", "thread"))
@pytest.mark.parametrize("io", ("auto", "window", "buffered"))
def test_files_on_a_disk(tmp_path, io, engine, all_):
    audited(compressible(9, 10, 100), codecs.ZSTD, tmp_path, io=io,
            engine=engine, all_=all_, level=6)


@pytest.mark.parametrize("codec", CODECS)
def test_zero_pages_can_be_kept(codec):
    v2 = compressible(1)
    out = clib.encode(v2, "v3", codec=codec, keep_zero=True)
    decoded, batches = seen(commit_stream(out))
    assert decoded == v2 and not any(b.zero for b in batches)


# -- what is worth it ---------------------------------------------------------------

def features(data: bytes) -> int:
    return header_of(data).mandatory_features


@pytest.mark.parametrize("codec", CODECS)
def test_noise_stays_as_it_is(codec):
    rng = random.Random(5)
    v2 = stream(page_data(list(range(64)),
                          [rng.randbytes(L.PAGE) for _ in range(64)]))
    out = clib.encode(v2, "v3", codec=codec)
    assert seen(commit_stream(out))[1][0].batch.codec == codecs.NONE
    assert len(out) <= len(clib.encode(v2, "v3"))
    assert features(out) == 0
    # A pipe cannot be rewritten: what was announced stays.
    assert features(clib.encode_pipe(v2, "v3", codec=codec)) \
        == codecs.MANDATORY[codec]


@pytest.mark.parametrize("codec", CODECS)
def test_one_block_has_to_be_gained(codec):
    """One page never; two where one of them vanishes."""
    one = clib.encode(stream(page_data([1], [b"\7" * L.PAGE])), "v3",
                      codec=codec)
    assert [b.batch.codec for b in seen(commit_stream(one))[1]] \
        == [codecs.NONE]
    rng = random.Random(6)
    noise = rng.randbytes(L.PAGE)
    half = noise[:2048] + bytes(2047) + b"\1"
    for second, packed in ((b"\7" * L.PAGE, False), (half, False)):
        v2 = stream(page_data([1, 2], [noise, second]))
        out = commit_stream(clib.encode(v2, "v3", codec=codec))
        assert (seen(out)[1][0].batch.codec != codecs.NONE) == packed
    v2 = stream(page_data([1, 2, 3], [noise, half, half]))
    batch, = seen(commit_stream(clib.encode(v2, "v3", codec=codec)))[1]
    assert batch.batch.codec == codec and batch.batch.stored <= 2 * L.PAGE


def test_only_v3_is_compressed():
    for format_ in ("v2", "compat"):
        with pytest.raises(clib.LibraryError, match="only v3"):
            clib.encode(compressible(1), format_, codec=codecs.ZSTD)
    for codec, level in ((3, 0), (1, 13), (2, 20), (2, -1)):
        with pytest.raises(clib.LibraryError, match="no such"):
            clib.encode(compressible(1), "v3", codec=codec, level=level)


def test_a_sink_that_has_to_wait_gets_what_there_is():
    """No compressor is as fast as memory at its highest level.

    How much is compressed is up to the machine's other work, too.
    """
    v2 = compressible(3, 24, 40)
    out = clib.encode(v2, "v3", codec=codecs.ZSTD, level=19, all_=False,
                      threads=1)
    decoded, batches = seen(commit_stream(out))
    assert decoded == v2
    assert codecs.NONE in {b.batch.codec for b in batches}
    every = clib.encode(v2, "v3", codec=codecs.ZSTD, level=19, threads=1)
    batches = seen(commit_stream(every))[1]
    assert {b.batch.codec for b in batches} == {codecs.ZSTD}


def test_a_slow_link_gets_all_of_it_compressed():
    """But for what was given up before it was known to be slow, and what
    the machine's other work kept from a thread: most of 40 on an idle one.
    """
    v2 = compressible(5, 40, 60)
    reader, writer = os.pipe()
    parts = []

    def drain():
        while part := os.read(reader, 1 << 16):
            parts.append(part)
            time.sleep(len(part) / 4e6)

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        clib.encode_stream(writer, v2, "v3", codec=codecs.LZ4, all_=False,
                           threads=1)
    finally:
        os.close(writer)
        thread.join()
        os.close(reader)
    decoded, batches = seen(b"".join(parts))
    assert decoded == v2
    used = [b.batch.codec for b in batches]
    assert used.count(codecs.LZ4) >= 10, used


# -- hostile ------------------------------------------------------------------------

def sealed(v2: bytes, codec: int, change,
           frame_pages: int = L.BATCH_MAX) -> bytes:
    """A compressed stream, changed, with every checksum right."""
    s = Sealed(commit_stream(encode_v3(v2, codec=codec,
                                       frame_pages=frame_pages)))
    n = s.find(L.ALIGNED_PAGE_DATA)[0]
    change(s, s.records[n][1])
    return s.seal()


def both_refuse(data: bytes, v2: bytes, what: str) -> None:
    out, error = decode_some(data)
    assert error is not None and what in error.what, error
    result = clib.decode(data)
    assert result.error is not None
    # Not one page of it was handed on.
    pages = v2.index(words(0, 2)[1])
    assert len(out) <= pages and len(result.v2) <= pages


V2 = compressible(0, 1)


def frames_of(body: bytearray) -> list:
    batch = Batch.unpack(len(body), bytes(body[:40]))
    at = 40 + batch.table_length
    ends = struct.unpack_from(f"<{batch.frames}I", body,
                              at - 4 * batch.frames)
    at += batch.pad_length
    return [bytes(body[at + begin:at + end])
            for begin, end in zip((0, *ends), ends)]


def set_frames(body: bytearray, frames: list) -> None:
    batch = Batch.unpack(len(body), bytes(body[:40]))
    assert batch.frames == len(frames)
    at = 40 + batch.table_length
    struct.pack_into(f"<{len(frames)}I", body, at - 4 * len(frames),
                     *accumulate(map(len, frames)))
    body[at + batch.pad_length:] = b"".join(frames)


def other(codec: int) -> int:
    return codecs.LZ4 + codecs.ZSTD - codec


PAGES = b"".join(page for page in words(0, 40))
STORED = b"".join(page for number, page in enumerate(words(0, 40))
                  if number % 7)
DAMAGE = {
    "cut": lambda codec, data: data[:-1],
    "longer": lambda codec, data: data + b"\0",
    "a page less": lambda codec, data: codecs.pack(codec, STORED[:-L.PAGE]),
    "a page more": lambda codec, data: codecs.pack(codec, STORED + PAGES[
        :L.PAGE]),
    "a byte less": lambda codec, data: codecs.pack(codec, STORED[:-1]),
    "a byte more": lambda codec, data: codecs.pack(codec, STORED + b"\1"),
    "noise": lambda codec, data: random.Random(1).randbytes(len(data)),
    "one byte": lambda codec, data: b"\0",
    "of the other": lambda codec, data: codecs.pack(other(codec), STORED),
    "twice": lambda codec, data: data + data,
    "a gigabyte": lambda codec, data: (
        codecs.simple_lz4(b"a" * (1 << 24)) if codec == codecs.LZ4
        else codecs.simple_zstd(b"a" * (1 << 26))),
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_contents_that_do_not_decompress(codec, damage):
    def change(s, body):
        new = DAMAGE[damage](codec, *frames_of(body))
        assert len(new) <= L.PAGE * 33
        set_frames(body, [new])

    both_refuse(sealed(V2, codec, change), V2, "does not decompress")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_one_frame_of_many_that_does_not_decompress(codec, damage):
    """Nor is a page of the frames before it handed out."""
    def change(s, body):
        frames = frames_of(body)
        number = len(damage) % len(frames)
        frames[number] = DAMAGE[damage](codec, frames[number])
        set_frames(body, frames)

    both_refuse(sealed(V2, codec, change, 4), V2, "")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("frame_pages", (1, 2, 8, 64, 1024))
def test_frames_of_any_size(codec, frame_pages):
    for seed in range(3):
        v2 = compressible(seed)
        out = commit_stream(encode_v3(v2, codec=codec,
                                      frame_pages=frame_pages))
        result = clib.decode(out, seed=seed)
        assert result.error is None and result.v2 == v2 == decode(out)


def zstd_frames() -> dict:
    import zstandard
    good = zstandard.ZstdCompressor().compress(STORED)
    half = len(STORED) // 2
    dictionary = zstandard.train_dictionary(
        2048, [page[:512] for page in words(3, 400)])
    return {
        "without its size": zstandard.ZstdCompressor(
            write_content_size=False).compress(STORED),
        "two frames": zstandard.ZstdCompressor().compress(STORED[:half])
        + zstandard.ZstdCompressor().compress(STORED[half:]),
        "a skippable frame before": b"\x50\x2a\x4d\x18\4\0\0\0abcd" + good,
        "a skippable frame behind": good + b"\x50\x2a\x4d\x18\4\0\0\0abcd",
        "a dictionary": zstandard.ZstdCompressor(
            dict_data=dictionary).compress(STORED),
        "a wrong checksum": zstandard.ZstdCompressor(
            write_checksum=True).compress(STORED)[:-1] + b"\0",
        "a frame of before the standard": b"\x27" + good[1:],
    }


@pytest.mark.parametrize("name", zstd_frames())
def test_frames_that_are_not_as_the_table_says(name):
    data = sealed(V2, codecs.ZSTD, lambda s, body: set_frames(
        body, [zstd_frames()[name]]))
    both_refuse(data, V2, "does not decompress")


def test_a_frame_with_a_checksum_is_a_frame():
    import zstandard
    data = sealed(V2, codecs.ZSTD, lambda s, body: set_frames(body, [
        zstandard.ZstdCompressor(write_checksum=True).compress(STORED)]))
    assert decode(data) == V2 == clib.decode(data).v2


def set_u32(at: int, value: int):
    def change(s, body):
        body[at:at + 4] = struct.pack("<I", value)
    return change


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("flags, what", [
    (0xa0, "does not fit"), (0xa3, "reserved batch flags"),
    (0xa5, "reserved batch flags"), (0xb1, "reserved batch flags"),
    (0xa9, "reserved batch flags"), (1 << 31 | 0xa1, "reserved batch flags")])
def test_flags(codec, flags, what):
    both_refuse(sealed(V2, codec, set_u32(12, flags)), V2, what)


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_that_was_not_announced(codec):
    def change(s, body):
        header = L.AlignedHeader.unpack(bytes(s.records[0][1]))
        header.mandatory_features = codecs.MANDATORY[other(codec)]
        s.records[0][1][:] = header.pack()

    both_refuse(sealed(V2, codec, change), V2, "does not announce")


@pytest.mark.parametrize("codec", CODECS)
def test_no_gain(codec):
    """As large as a page less is fine; one byte more is refused."""
    rng = random.Random(8)
    noise = [rng.randbytes(L.PAGE) for _ in range(3)]
    v2 = stream(page_data([1, 2, 3, 4], noise + [words(0, 2)[1]]))
    packed = codecs.pack(codec, b"".join(noise) + words(0, 2)[1])
    assert len(packed) > 3 * L.PAGE     # too little, so do it by hand
    s = Sealed(commit_stream(encode_v3(v2, codec=codec,
                                       frame_pages=L.BATCH_MAX)))
    n, = s.find(L.ALIGNED_PAGE_DATA)
    body = s.records[n][1]
    body[12] |= codec
    set_frames(body, [packed])
    header = L.AlignedHeader.unpack(bytes(s.records[0][1]))
    header.mandatory_features = codecs.MANDATORY[codec]
    s.records[0][1][:] = header.pack()
    data = s.seal()
    _, error = decode_some(data)
    assert error is not None and "does not fit" in error.what
    assert clib.decode(data).error is not None


@pytest.mark.parametrize("codec", CODECS)
def test_the_checksum_comes_before_the_decompressor(codec):
    """Damage that the decompressor would not notice, or would choke on."""
    data = commit_stream(encode_v3(V2, codec=codec))
    r = next(r for r in walk(data) if r.type == L.ALIGNED_PAGE_DATA)
    batch = Batch.unpack(len(r.body), r.body[:40])
    first = r.offset + 8 + len(r.body) - batch.stored
    rng = random.Random(codec)
    last = r.offset + 8 + len(r.body)
    for at in (first, last - 1, *rng.sample(range(first, last), 60)):
        changed = bytearray(data)
        changed[at] ^= 1 << rng.randrange(8)
        result = clib.decode(bytes(changed))
        assert "checksum" in result.error.text


def test_both_codecs_in_one_stream():
    """A reader goes by each batch."""
    v2 = compressible(2, 2)
    s = Sealed(commit_stream(encode_v3(v2, codec=codecs.LZ4,
                                       frame_pages=L.BATCH_MAX)))
    n = s.find(L.ALIGNED_PAGE_DATA)[1]
    body = s.records[n][1]
    pages = struct.unpack_from("<I", body, 4)[0]
    data = codecs.unpack(codecs.LZ4, *frames_of(body), L.PAGE * pages)
    set_frames(body, [codecs.pack(codecs.ZSTD, data)])
    body[12] ^= codecs.LZ4 ^ codecs.ZSTD
    s.records[0][1][16:24] = L.U64.pack(3)
    out = s.seal()
    assert decode(out) == v2 == clib.decode(out).v2
