# SPDX-License-Identifier: LGPL-2.1-or-later
"""Damaged v3 save files: flipped bits, truncation, bytes added.

Every damaged file goes the way of a restore through the C library: probe,
check, and, where these two see nothing, the decoder up to END. XENSAVE_FLIPS
and XENSAVE_CUTS set how many bits and how many lengths are tried.
"""
import faulthandler
import os
import random
import struct
from collections import Counter, defaultdict

import pytest

from model import layout as L
from model import codecs, savefile
from model.batch import Batch
from model.generator import Generator, page_data
from model.grown import last_pages
from model.records import STREAM_HEADERS, record, walk
from model.savefile import XL_HEADER, hvm_tail, libxl_head
from model.vectors import IDENTITY
from stream import clib

FLIPS = int(os.environ.get("XENSAVE_FLIPS", 12000))
CUTS = int(os.environ.get("XENSAVE_CUTS", 10000))
HANG = 600 + (10**5 + FLIPS + CUTS) // 100

CONFIG = (b'{"c_info":{"type":"hvm","name":"guest"},'
          b'"b_info":{"max_vcpus":2,"max_memkb":262144}}')
SKIPPED = 0xc14c0042                # a record of a later version


@pytest.fixture(scope="module", autouse=True)
def library():
    assert clib.LIBRARY.exists(), f"{clib.LIBRARY} is missing: run make first"
    # A decoder that does not come back is a failure too.
    faulthandler.dump_traceback_later(HANG, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


# -- files --------------------------------------------------------------------

def hvm_stream(seed: int, repeat: int = 1) -> bytes:
    """Stored, zero and absent pages, small and large batches, odd records.

    Pages compress to a part of them, one in `repeat`.
    """
    rng = random.Random(seed)

    def page(length: int) -> bytes:
        if length != L.PAGE:
            return rng.randbytes(length)
        return rng.randbytes(length // repeat) * repeat

    none = [0xf << 60 | pfn for pfn in range(90, 130)]
    return b"".join((
        Generator(seed).hvm()[:STREAM_HEADERS],
        record(0x11, page(172)), record(0x12, page(61)), record(0x10),
        page_data([0, 1, 0xf << 60 | 2, 3],
                  [page(L.PAGE), L.ZERO_PAGE, page(L.PAGE)]),
        page_data(none, []),
        page_data([4, 5, 6], 3 * [L.ZERO_PAGE]),
        page_data(list(range(7, 12)), [page(L.PAGE) for _ in range(5)]),
        record(L.PAGE_DATA, L.PAGE_DATA_HEADER.pack(0, 0)),
        record(L.OPTIONAL | 0x77, page(21)),
        record(0x8, page(24)), record(0x9, page(700)), record(0xa, page(40)),
        record(L.END)))


def files() -> dict:
    """Whole files of xl, by name; their streams start at odd offsets too."""
    tail = hvm_tail(b"physmap/0/start_addr\0f0000000\0",
                    random.Random(1).randbytes(1500))
    def build(v2: bytes, spaces: int, **options) -> bytes:
        return savefile.build(v2, CONFIG + b" " * spaces, tail, "v3",
                              **options)

    def skipped() -> list:
        return [record(SKIPPED, b"of a later version")]

    result = {
        "hvm": build(hvm_stream(1), 0, identity=IDENTITY),
        "hvm-odd-start": build(hvm_stream(2), 1, identity=IDENTITY,
                               later=b"longer" * 4, optional=skipped),
        "pv": savefile.build(Generator(5, 12).pv(), CONFIG,
                             savefile.pv_tail(), "v3"),
        "lz4": build(hvm_stream(3, 8), 2, codec=codecs.LZ4, frame_pages=2,
                     identity=IDENTITY),
        "zstd": build(hvm_stream(4, 8), 3, codec=codecs.ZSTD,
                      frame_pages=2, identity=IDENTITY),
    }
    for name, codec in (("lz4", codecs.LZ4), ("zstd", codecs.ZSTD)):
        assert codec in [r.body[12] & L.BATCH_CODEC for r in walk(
            savefile.split(result[name])[1])
            if r.type == L.ALIGNED_PAGE_DATA]
    assert len({savefile.parse_head(data).stream_start % 8
                for data in result.values()}) > 1
    return result


FILES = files()


# -- regions --------------------------------------------------------------------

def batch_regions(at: int, body: bytes, padding: bytes):
    batch = Batch.unpack(len(body), body[:40])
    for length, name in (
            (48, "batch header"), (8 * batch.count, "batch pfns"),
            (12 * batch.frames, "frame table"),
            (batch.pad_length, "batch padding"),
            (batch.stored, "compressed contents" if batch.codec
             else "page contents"),
            (len(padding), "batch record padding")):
        yield at, at + length, name
        at += length


CONTROL = {L.ALIGNED_HEADER: "ALIGNED_HEADER", L.ALIGNED_INDEX: "index",
           L.ALIGNED_CHECK: "check", L.END: "END",
           L.ALIGNED_IDENTITY: "identity", SKIPPED: "optional record"}


def regions(data: bytes):
    """(begin, end, name) of every byte of a file, in order."""
    start = savefile.parse_head(data).stream_start
    _, stream, tail = savefile.split(data)
    libxl = start - len(libxl_head())
    yield 0, XL_HEADER.size, "xl header"
    yield XL_HEADER.size, libxl, "xl configuration"
    yield libxl, start, "libxl header"
    yield start, start + L.IMAGE_HEADER.size, "image header"
    yield start + L.IMAGE_HEADER.size, start + STREAM_HEADERS, \
        "domain header"
    for r in walk(stream):
        at = start + r.offset
        if r.type == L.ALIGNED_PAGE_DATA:
            yield from batch_regions(at, r.body, r.padding)
        else:
            yield at, at + len(r.raw), CONTROL.get(r.type, "context record")
    yield len(data) - len(tail), len(data), "tail"


def test_regions_cover_every_byte_once():
    for data in FILES.values():
        at = 0
        for begin, end, _ in regions(data):
            assert begin == at and end >= begin
            at = end
        assert at == len(data)


# -- the way of a restore ---------------------------------------------------------

class File:
    def __init__(self, data: bytes) -> None:
        self.fd = os.memfd_create("damaged", os.MFD_CLOEXEC)
        os.pwrite(self.fd, data, 0)

    def __enter__(self) -> "File":
        return self

    def __exit__(self, *_) -> None:
        os.close(self.fd)

    def opened(self):
        """Before a domain exists; LibraryError if it is refused."""
        found = clib.probe(self.fd)
        clib.check(self.fd, found)
        return found

    def decoded(self, stream_start: int):
        os.lseek(self.fd, stream_start, os.SEEK_SET)
        return clib.decode_fd(self.fd, io="buffered")

    def restore(self) -> tuple:
        """(who refuses: "probe", "check", "decoder" or "", error, v2)"""
        try:
            found = clib.probe(self.fd)
        except clib.LibraryError as error:
            return "probe", error, b""
        if clib.FORMATS[found.format] != "v3":
            # Without the mark of completeness it is another kind of file.
            return "", f"taken for {clib.FORMATS[found.format]}", b""
        try:
            clib.check(self.fd, found)
        except clib.LibraryError as error:
            return "check", error, b""
        result = self.decoded(found.stream_start)
        return ("decoder" if result.error else ""), result.error, result.v2


def assert_error(error) -> None:
    assert error.text and "\n" not in error.text and error.errnum > 0


def test_undamaged_files_are_taken():
    for data in FILES.values():
        with File(data) as file:
            refused, error, v2 = file.restore()
            assert (refused, error) == ("", None)
            assert v2 == savefile.split(savefile.to_v2(data))[1]


# -- flipped bits ------------------------------------------------------------------

def bits_to_flip(data: bytes, count: int, rng: random.Random):
    """Half of them anywhere, half of them in a region each in turn."""
    spans = defaultdict(list)
    for begin, end, name in regions(data):
        if end > begin:
            spans[name].append((begin, end))
    for _ in range(count // 2):
        yield rng.randrange(8 * len(data))
    names = sorted(spans)
    for number in range(count - count // 2):
        begin, end = rng.choice(spans[names[number % len(names)]])
        yield rng.randrange(8 * begin, 8 * end)


def region_of(data: bytes) -> list:
    """The name of the region of every byte."""
    names = [""] * len(data)
    for begin, end, name in regions(data):
        names[begin:end] = [name] * (end - begin)
    return names


def first_page(data: bytes) -> list:
    """For every byte of a batch, where the v2 stream has it, its pages and
    its end."""
    start = savefile.parse_head(data).stream_start
    result: list = [None] * len(data)
    v2 = STREAM_HEADERS
    for r in walk(savefile.split(data)[1]):
        if r.type == L.ALIGNED_PAGE_DATA:
            count, = L.RECORD_HEADER.unpack_from(r.body)[:1]
            pfns = struct.unpack_from(f"<{count}Q", r.body, 40)
            pages = v2 + 16 + 8 * count
            begin = start + r.offset
            end = pages + L.PAGE * sum(map(L.has_contents, pfns))
            if end == pages:    # the whole of it waits for its checksum
                pages = v2
            result[begin:begin + len(r.raw)] = [(v2, pages, end)] * len(r.raw)
            v2 = end
        elif not L.is_ours(r.type):
            v2 += len(r.raw)
    return result


def assert_no_page(batch, v2: bytes, whole: bytes, which: str) -> None:
    """Not one byte of a damaged batch's pages was handed on as that.

    A batch whose type was hit is a record that Xen does not know, and Xen
    stops at it: unknown types are mandatory unless bit 31 is set.  If that
    was hit, the batch is skipped, which ALIGNED_CHECK finds before END.
    """
    if batch is None or len(v2) <= batch[1]:
        return
    begin, _, end = batch
    if whole[end:].startswith(v2[begin:]):
        return
    type_, = struct.unpack_from("<I", v2, begin)
    assert type_ not in L.RECORD_NAMES and not type_ & L.OPTIONAL, which


def assert_pages_are_right(file: File, wanted: dict, which: str) -> None:
    """By the index: single pages, without the rest of the stream."""
    try:
        pages = clib.index_pages(file.fd, clib.probe(file.fd))
    except clib.LibraryError as error:
        assert_error(error)
        return
    assert pages == wanted, which


def flip_bits(name: str, count: int, seed: int) -> Counter:
    """{(region, who refused): bits}"""
    data = FILES[name]
    where, pages = region_of(data), first_page(data)
    whole = savefile.split(savefile.to_v2(data))[1]
    contents = last_pages(whole)
    counts: Counter = Counter()
    with File(data) as file:
        for bit in bits_to_flip(data, count, random.Random(seed)):
            at = bit // 8
            os.pwrite(file.fd, bytes([data[at] ^ 1 << bit % 8]), at)
            refused, error, v2 = file.restore()
            if refused == "decoder":
                assert_pages_are_right(file, contents, f"{name}, bit {bit}")
            os.pwrite(file.fd, data[at:at + 1], at)
            counts[where[at], refused] += 1
            assert refused, f"{name}, bit {bit}, {where[at]}: {error}"
            assert_error(error)
            assert_no_page(pages[at], v2, whole, f"{name}, bit {bit}")
        assert file.restore()[0] == ""
    return counts


def table(counts: Counter) -> str:
    lines = [f"{'region':22}{'probe':>8}{'check':>8}{'decoder':>8}"]
    for region in sorted({region for region, _ in counts}):
        lines.append(f"{region:22}" + "".join(
            f"{counts[region, who]:8}"
            for who in ("probe", "check", "decoder")))
    return "\n".join(lines)


@pytest.mark.parametrize("flips", (FLIPS, pytest.param(
    10**5, marks=pytest.mark.slow)))
def test_every_flipped_bit_is_refused(record_property, flips):
    counts: Counter = Counter()
    for seed, name in enumerate(FILES):
        counts += flip_bits(name, flips // len(FILES), seed)
    print("\n" + table(counts) + f"\n{sum(counts.values())} flips, "
          "every one refused")
    record_property("flips", sum(counts.values()))
    assert sum(counts.values()) >= flips // len(FILES) * len(FILES)
    every = {name for data in FILES.values()
             for begin, end, name in regions(data) if end > begin}
    assert {region for region, _ in counts} == every
    for (region, who), _ in counts.items():
        # Everything around the stream is found before a domain exists.
        if region in ("xl header", "xl configuration", "libxl header",
                      "ALIGNED_HEADER", "tail"):
            assert who in ("probe", "check"), region


def test_every_bit_of_the_structure_is_refused():
    """Not a sample: all bits but those of page contents, in one file."""
    data = FILES["hvm-odd-start"]
    with File(data) as file:
        for begin, end, name in regions(data):
            if name in ("page contents", "tail", "batch padding"):
                continue
            for bit in range(8 * begin, 8 * end):
                at = bit // 8
                os.pwrite(file.fd, bytes([data[at] ^ 1 << bit % 8]), at)
                assert file.restore()[0], f"bit {bit}, {name}"
                os.pwrite(file.fd, data[at:at + 1], at)


# -- truncation, and bytes behind the end ------------------------------------------

def boundaries(data: bytes) -> set:
    start = savefile.parse_head(data).stream_start
    _, stream, tail = savefile.split(data)
    result = {begin for begin, _, _ in regions(data)}
    result |= {start + r.offset for r in walk(stream)}
    at = len(data) - len(tail)
    for _, body in savefile.parse_tail(tail):
        result.add(at)
        at += 8 + L.padded(len(body))
    return result


def refused_before_the_domain(file: File) -> None:
    with pytest.raises(clib.LibraryError) as caught:
        file.opened()
    assert_error(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_cut_at_every_record(name):
    data = FILES[name]
    with File(data) as file:
        for length in sorted(boundaries(data), reverse=True):
            os.ftruncate(file.fd, length)
            refused_before_the_domain(file)


def test_cut_anywhere():
    rng, done = random.Random(3), 0
    share = -(-CUTS // len(FILES))
    for data in FILES.values():
        lengths = rng.sample(range(len(data)), min(share, len(data)))
        with File(data) as file:
            for length in sorted(lengths, reverse=True):
                os.ftruncate(file.fd, length)
                refused_before_the_domain(file)
        done += len(lengths)
    assert done >= CUTS or done == sum(map(len, FILES.values()))


def test_cut_and_filled_up_again():
    """As a file is found after a power cut: its length right, then zeros.

    One class gets through: if nothing is left of ALIGNED_HEADER but a part of
    its type, the file is a v2 file to look at; and no page is left in it.
    """
    rng = random.Random(4)
    for data in FILES.values():
        start = savefile.parse_head(data).stream_start
        with File(data) as file:
            lengths = {*rng.sample(range(len(data)), 500),
                       *range(start, start + STREAM_HEADERS + 136)}
            for length in sorted(lengths, reverse=True):
                os.ftruncate(file.fd, length)
                os.ftruncate(file.fd, len(data))
                if not data[length:].strip(b"\0"):
                    continue
                refused, error, _ = file.restore()
                if not refused:
                    assert 0 < length - start - STREAM_HEADERS < 4, \
                        f"zeros from {length} on: {error}"


def test_bytes_behind_the_end():
    for data in FILES.values():
        with File(data) as file:
            for more in (1, 7, 8, 4096):
                os.ftruncate(file.fd, len(data) + more)
                refused_before_the_domain(file)


# -- streams without a mark of completeness ------------------------------------------

def test_bits_of_a_streamed_save():
    """From a pipe: no checksum of head and tail, but the stream has all."""
    v2, rng = hvm_stream(6), random.Random(6)
    stream = clib.encode_pipe(v2, "v3")
    for bit in (rng.randrange(8 * len(stream)) for _ in range(FLIPS // 8)):
        changed = bytearray(stream)
        changed[bit // 8] ^= 1 << bit % 8
        result = clib.decode(bytes(changed))
        if result.error is None:
            # One class: a header bit that turns v3 into another format.
            assert result.format == "v3", f"bit {bit}"
        assert result.error is not None, f"bit {bit}"
    for cut in rng.sample(range(len(stream)), min(FLIPS // 8, len(stream))):
        assert clib.decode(stream[:cut]).error is not None, f"cut at {cut}"
