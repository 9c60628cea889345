# SPDX-License-Identifier: LGPL-2.1-or-later
"""Damaged and hostile streams: refused, or provably the same guest."""
import io
import random
import struct

import pytest

from model import layout as L
from model import savefile, vectors
from model.audit import audit_file
from model.batch import Fault
from model.decoder import Decoder, decode, decode_some
from model.encoder import commit_stream, encode_compat, encode_v3
from model.generator import Generator
from model.header import header_of, with_header
from model.index import IndexReader
from model.mutate import Mutator, Sealed, flip
from model.records import StreamError, record, stream_length, walk
from model.savefile import HeadError

PV = vectors.pv_minimal()
HVM = vectors.hvm_two_batches()
GOOD = commit_stream(encode_v3(HVM))
COMPAT = encode_compat(HVM)
BATCH, INDEX, CHECK = L.ALIGNED_PAGE_DATA, L.ALIGNED_INDEX, L.ALIGNED_CHECK


def refused(stream, start=0, v2=HVM, **options):
    """The error; what was handed out before it must be right."""
    out, error = decode_some(stream, start, **options)
    assert error is not None, "accepted"
    assert v2 is None or v2.startswith(out)
    return error


def whole_file(format_, seed=3):
    return savefile.build(*Generator(seed, 6).parts(), format_)


def file_holds(file):
    """Refuses as a reader of whole files does."""
    try:
        report, _, _ = audit_file(io.BytesIO(file))
    except (StreamError, HeadError):
        return False
    return not report.faults


# -- truncation -------------------------------------------------------------

@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("format_", ("v3", "compat", "v2"))
def test_cut_at_every_record_boundary(seed, format_):
    v2 = Generator(seed, 24).stream()
    stream = {"v3": lambda: commit_stream(encode_v3(v2)),
              "compat": lambda: encode_compat(v2), "v2": lambda: v2}[format_]()
    assert decode(stream) == v2
    for r in walk(stream):
        for cut in (r.offset, r.offset + 4, r.offset + 8 + len(r.body) // 2):
            if cut < len(stream):
                error = refused(stream[:cut], v2=v2)
                assert error.end_of_file and error.offset <= cut


def test_cut_everywhere():
    rng = random.Random(1)
    file = whole_file("v3")
    assert file_holds(file)
    cuts = set(range(0, 400)) | {rng.randrange(len(file))
                                 for _ in range(300)}
    assert not [cut for cut in cuts if file_holds(file[:cut])]
    assert not file_holds(file + b"\0")


# -- single bits ------------------------------------------------------------

def test_bits_of_a_v3_file():
    """Every class of bytes: head, records, padding, pages, index, tail."""
    rng = random.Random(2)
    file = whole_file("v3")
    start = savefile.parse_head(file).stream_start
    places = set(range(start + 200))
    for r in walk(file[start:]):
        at = start + r.offset
        places.update(range(at, at + 48))
        places.update(rng.randrange(at, at + len(r.raw)) for _ in range(40))
    places.update(range(len(file) - 60, len(file)))
    places.update(rng.randrange(len(file)) for _ in range(500))
    accepted = [at for at in places if at < len(file)
                and file_holds(flip(file, 8 * at + rng.randrange(8)))]
    assert len(places) > 1500 and not accepted


@pytest.mark.parametrize("start", (0, 3))
def test_bits_of_a_v3_stream(start):
    stream = commit_stream(encode_v3(PV, start), start)
    rng = random.Random(3 + start)
    for _ in range(1500):
        bit = rng.randrange(8 * len(stream))
        refused(flip(stream, bit), start, None)
    for bit in range(8 * 400):
        refused(flip(stream, bit), start, None)


def test_no_page_is_handed_out_before_its_batch_is_verified():
    batch = [r for r in walk(GOOD) if r.type == BATCH][0]
    v2 = [r for r in walk(HVM) if r.type == L.PAGE_DATA][0]
    for at in (40 + 8 * 4 + 12 + 1, len(batch.body) - 1):
        damaged = flip(GOOD, 8 * (batch.offset + 8 + at))
        out, error = decode_some(damaged)
        assert error and error.offset == batch.offset and error.record == 2
        assert len(out) <= v2.offset + 16 + 8 * 4


def test_bits_of_compat_padding_and_batches():
    """The rest of a compat stream is no better covered than v2."""
    rng = random.Random(4)
    previous = None
    for r in walk(COMPAT):
        covered = r.type == L.PADDING or previous == L.PADDING
        previous = r.type
        if not covered or r.type not in (L.PADDING, L.PAGE_DATA):
            continue
        bits = set(range(8 * r.offset, 8 * min(r.offset + 96,
                                               r.offset + len(r.raw))))
        bits |= {8 * r.offset + rng.randrange(8 * len(r.raw))
                 for _ in range(200)}
        for bit in bits:
            refused(flip(COMPAT, bit), v2=None)


def test_head_padding_is_checksummed():
    at = 40 + 8 + 12
    for value in range(256):
        stream = COMPAT[:at] + bytes([value]) + COMPAT[at + 1:]
        if value == COMPAT[at]:
            assert decode(stream) == HVM
        else:
            refused(stream)


# -- fields, with every checksum right --------------------------------------

def read_by_index(stream, v2=HVM):
    """False if it is refused by the reader of indexes, too."""
    try:
        assert b"".join(IndexReader(io.BytesIO(stream))) == v2
    except Fault:
        return False
    return True


def sealed(type_, offset, value, number=0, stream=GOOD, **options):
    s = Sealed(stream)
    body = s.records[s.find(type_)[number]][1]
    body[offset:offset + len(value)] = value
    return s.seal(**options)


def u32(value):
    return struct.pack("<I", value)


def u64(value):
    return struct.pack("<Q", value)


def test_sealing_changes_nothing_by_itself():
    assert Sealed(GOOD).seal() == GOOD == Sealed(GOOD).seal(False)
    assert Sealed(COMPAT).seal() == COMPAT


# The first batch of GOOD: 4 pfns, 2 pages, one frame of up to 4 pages.
PFNS, ENDS = 40, 40 + 8 * 4 + 8
FIELDS = [
    ("count 0", BATCH, 0, u32(0), "0 pfns"),
    ("count 1025", BATCH, 0, u32(1025), "1025 pfns"),
    ("count 2^32 - 1", BATCH, 0, u32(0xffffffff), "pfns"),
    ("count of one less", BATCH, 0, u32(3), "length"),
    ("pages above count", BATCH, 4, u32(5), "5 pages"),
    ("pages of one less", BATCH, 4, u32(1), "length"),
    ("pages of none", BATCH, 4, u32(0), "pad length"),
    ("pad of one less", BATCH, 8, u32(3743), "length"),
    ("pad of 2 alignments", BATCH, 8, u32(8192), "pad length"),
    ("pad of 2 alignments less 1", BATCH, 8, u32(8191), "length"),
    ("pad 2^32 - 1", BATCH, 8, u32(0xffffffff), "pad length"),
    ("flags bit 2", BATCH, 12, u32(0x24), "flags"),
    ("flags bit 3", BATCH, 12, u32(0x28), "flags"),
    ("flags bit 8", BATCH, 12, u32(0x120), "flags"),
    ("flags bit 31", BATCH, 12, u32(0x80000020), "flags"),
    ("compression 3", BATCH, 12, u32(0x23), "flags"),
    ("frames of 2048 pages", BATCH, 12, u32(0xb0), "flags"),
    ("frames of 2^15 pages", BATCH, 12, u32(0xf0), "flags"),
    ("frames of one page", BATCH, 12, u32(0x00), "length"),
    ("compression without gain", BATCH, 12, u32(0x21), "length"),
    ("pfn bit 53", BATCH, PFNS, u64(1 << 53), "reserved bits"),
    ("pfn bit 59", BATCH, PFNS, u64(1 << 59), "reserved bits"),
    ("ZERO on XTAB", BATCH, PFNS + 16, u64(0xf01 << 52), "ZERO"),
    ("ZERO on XALLOC", BATCH, PFNS + 16, u64(0xe01 << 52), "ZERO"),
    ("ZERO on BROKEN", BATCH, PFNS + 16, u64(0xd01 << 52), "ZERO"),
    ("one page too many", BATCH, PFNS, u64(0xf << 60), "2 pages for 1"),
    ("one page too few", BATCH, PFNS + 16, u64(2), "2 pages for 3"),
    ("end of one less", BATCH, ENDS, u32(8191), "a frame of 8191"),
    ("end of one more", BATCH, ENDS, u32(8193), "a frame of 8193"),
    ("end 0", BATCH, ENDS, u32(0), "a frame of 0"),
    ("padding", BATCH, ENDS + 4, b"\1", "non-zero byte"),
    ("index batches", INDEX, 0, u32(3), "3 batches"),
    ("index batches 2^32 - 1", INDEX, 0, u32(0xffffffff), "batches"),
    ("index records", INDEX, 4, u32(3), "3 records"),
    ("magic", L.ALIGNED_HEADER, 0, b"X-", "magic"),
    ("version 2", L.ALIGNED_HEADER, 8, u32(2), "version 2"),
    ("reader version", L.ALIGNED_HEADER, 12, u32(4), "version 4"),
    ("reader version 2", L.ALIGNED_HEADER, 12, u32(2), "version 2"),
    ("feature bit 2", L.ALIGNED_HEADER, 16, u64(7), "bit 2"),
    ("feature bit 63", L.ALIGNED_HEADER, 16, u64(1 << 63), "bit 63"),
    ("alignment 0", L.ALIGNED_HEADER, 32, u32(0), "alignment 0"),
    ("alignment 2048", L.ALIGNED_HEADER, 32, u32(2048), "alignment 2048"),
    ("alignment 5000", L.ALIGNED_HEADER, 32, u32(5000), "alignment 5000"),
    ("alignment 2^17", L.ALIGNED_HEADER, 32, u32(1 << 17), "alignment"),
    ("state 0", L.ALIGNED_HEADER, 36, u32(0), "UNFINISHED"),
    ("state 3", L.ALIGNED_HEADER, 36, u32(3), "state 3"),
    ("STREAMED with totals", L.ALIGNED_HEADER, 36, u32(1), "STREAMED"),
]


@pytest.mark.parametrize("field", FIELDS, ids=lambda f: f[0])
def test_field(field):
    _, type_, offset, value, reason = field
    stream = sealed(type_, offset, value, index=type_ != INDEX)
    assert reason in refused(stream).what
    assert not read_by_index(stream)


@pytest.mark.parametrize("offset", range(16, 16 + 2 * 64 + 2 * 24, 4))
def test_every_field_of_the_index(offset):
    """No entry may differ from its record, whatever its checksum says."""
    for bit in (0, 7, 31):
        s = Sealed(GOOD)
        body = s.records[s.find(INDEX)[0]][1]
        assert len(body) == 16 + 2 * 64 + 2 * 24
        body[offset + bit // 8] ^= 1 << bit % 8
        stream = s.seal(index=False)
        assert "does not describe" in refused(stream).what
        assert not read_by_index(stream)


@pytest.mark.parametrize("name", ("stream_length", "index_offset", "batches",
                                  "pages_stored", "pages_zero"))
def test_totals_of_a_complete_header(name):
    value = getattr(header_of(GOOD), name)
    stream = with_header(GOOD, **{name: value - 1})
    assert "ALIGNED_HEADER" in refused(stream).what
    assert not read_by_index(stream)


@pytest.mark.parametrize("field, value", (
    ("stream_length", 1 << 63), ("stream_start", 1 << 40),
    ("index_offset", 1 << 40), ("file_length", 100)))
def test_lengths_that_contradict_each_other(field, value):
    stream = with_header(GOOD, **{field: value})
    assert "contradict" in refused(stream).what


def test_padding_of_other_records_is_kept():
    """A stock reader does not look at it; the identity comes first."""
    v2 = HVM[:40] + record(0x80000100, b"a")[:-1] + b"!" + HVM[40:]
    for stream in (v2, encode_compat(v2), commit_stream(encode_v3(v2))):
        assert decode(stream) == v2


@pytest.mark.parametrize("offset", (0, 8, 16, 24))
def test_totals_of_aligned_check(offset):
    stream = sealed(CHECK, offset, b"\x7f", totals=False)
    assert "ALIGNED_CHECK says" in refused(stream).what


@pytest.mark.parametrize("change", (1, 7, 8, 40))
@pytest.mark.parametrize("type_", (L.ALIGNED_HEADER, BATCH, INDEX, CHECK))
def test_wrong_lengths(type_, change):
    for longer in (True, False):
        s = Sealed(GOOD)
        body = s.records[s.find(type_)[0]][1]
        if longer:
            body += bytes(change)
        else:
            del body[-change:]
        stream = s.seal(index=type_ != INDEX)
        if (type_, longer, change % 8) == (L.ALIGNED_HEADER, True, 0):
            assert decode(stream) == HVM
            continue
        assert "length" in refused(stream).what
        assert not read_by_index(stream)


def test_length_above_128_mib():
    for type_ in (0x9, 0x80000100, BATCH, L.PAGE_DATA, L.END):
        stream = GOOD[:184] + struct.pack("<II", type_, (128 << 20) + 1)
        assert "128 MiB" in refused(stream + bytes(64), v2=None).what
        stream = HVM[:40] + struct.pack("<II", type_, (128 << 20) + 1)
        assert "128 MiB" in refused(stream + bytes(64), v2=None).what


@pytest.mark.parametrize("length", (0, 120, 128, 132, 135, 137, 4089, 4096))
def test_lengths_of_the_header(length):
    s = Sealed(GOOD)
    s.records[0][1][:] = (s.records[0][1] + bytes(4096))[:length]
    assert f"length {length}" in refused(s.seal()).what


@pytest.mark.parametrize("length", (8, 16, 4088 - 136))
def test_longer_headers(length):
    v2 = HVM
    stream = commit_stream(encode_v3(v2, later=b"later   " * (length // 8)))
    decoder = Decoder(io.BytesIO(stream))
    assert b"".join(decoder) == v2 and read_by_index(stream)
    assert len(decoder.header.later) == length
    refused(flip(stream, 8 * (48 + 136)))


def test_optional_feature_bits_are_ignored():
    assert decode(sealed(L.ALIGNED_HEADER, 24, u64((1 << 63) | 3))) == HVM


def test_later_version_with_the_same_readers():
    assert decode(sealed(L.ALIGNED_HEADER, 8, u32(4))) == HVM


# -- order of records -------------------------------------------------------

def moved(change, stream=GOOD):
    s = Sealed(stream)
    change(s.records)
    return s.seal()


def position(records, type_):
    return [r[0] for r in records].index(type_)


def insert(type_, before, body=b""):
    def change(records):
        records.insert(position(records, before), [type_, bytearray(body)])
    return change


def copy(type_, before):
    def change(records):
        n = position(records, type_)
        records.insert(position(records, before),
                       [type_, bytearray(records[n][1])])
    return change


def drop(type_):
    return lambda records: records.pop(position(records, type_))


def swap(a, b):
    def change(records):
        i, j = position(records, a), position(records, b)
        records[i], records[j] = records[j], records[i]
    return change


RESERVED = (0x414c0000, 0x414c0003, 0x414c0004, 0x414c0006, 0x414c0007,
            0x414cffff)
SKIPPED = (0xc14c0000, 0xc14c0001, 0xc14c0002, 0xc14c0005, 0xc14c0007,
           0xc14cffff)
ORDER = [
    ("no header", drop(L.ALIGNED_HEADER)),
    ("two headers", copy(L.ALIGNED_HEADER, 0x10)),
    ("late header", swap(L.ALIGNED_HEADER, 0x10)),
    ("no check", drop(CHECK)),
    ("two checks", copy(CHECK, L.END)),
    ("two indexes", copy(INDEX, CHECK)),
    ("index before a batch", copy(INDEX, BATCH)),
    ("index before a context record", swap(INDEX, 0x9)),
    ("check before index", swap(INDEX, CHECK)),
    ("a record behind the index", insert(0x80000001, CHECK, b"12345678")),
    ("a record behind the check", insert(0x80000001, L.END)),
    ("a batch behind the check", copy(BATCH, L.END)),
    ("PADDING", insert(L.PADDING, BATCH, L.PADDING_HEADER.pack(
        L.MAGIC, L.PADDING_BATCH, 0, 0))),
    ("END with a body", lambda records: records[-1][1].extend(bytes(8))),
    ("a late identity", insert(L.ALIGNED_IDENTITY, BATCH)),
    ("an identity behind a skipped record", lambda records: (
        insert(L.ALIGNED_IDENTITY, 0x10)(records),
        insert(SKIPPED[0], L.ALIGNED_IDENTITY)(records))),
    ("two identities", lambda records: (
        insert(L.ALIGNED_IDENTITY, 0x10)(records),
        insert(L.ALIGNED_IDENTITY, 0x10)(records))),
    ("a skipped record behind the index", insert(SKIPPED[0], CHECK)),
    ("a skipped record behind the check", insert(SKIPPED[0], L.END)),
    ("a skipped record before the header", insert(SKIPPED[0],
                                                  L.ALIGNED_HEADER)),
    *((f"reserved 0x{t:x}", insert(t, BATCH)) for t in RESERVED),
]


@pytest.mark.parametrize("case", ORDER, ids=lambda c: c[0])
def test_order(case):
    stream = moved(case[1])
    refused(stream, v2=None)
    assert not read_by_index(stream)


@pytest.mark.parametrize("type_", RESERVED, ids=hex)
def test_reserved_types_are_refused_by_their_number(type_):
    assert f"0x{type_:08x}" in refused(moved(insert(type_, BATCH))).what


@pytest.mark.parametrize("before", (0x10, BATCH, 0x9, INDEX))
@pytest.mark.parametrize("type_", SKIPPED, ids=hex)
def test_skipped_types(type_, before):
    stream = moved(insert(type_, before, b"later"))
    assert decode(stream) == HVM and read_by_index(stream)
    # Not handed on, but covered.
    at = stream.index(b"later")
    for changed in (flip(stream, 8 * at), flip(stream, 8 * (at + 6))):
        assert "ALIGNED_" in refused(changed).what
        assert not read_by_index(changed)


@pytest.mark.parametrize("type_", SKIPPED, ids=hex)
def test_skipped_types_in_compat(type_):
    for before in (0x10, 0x9, L.END):
        assert decode(moved(insert(type_, before, b"later"), COMPAT)) == HVM
    refused(moved(insert(type_, L.PAGE_DATA), COMPAT), v2=None)
    refused(moved(insert(type_, 0x10), HVM), v2=None)


def test_an_index_is_optional():
    stream = moved(drop(INDEX))
    assert decode(stream) == HVM and not read_by_index(stream)


IDENTITIES = [
    (b"", {}), (b"name=\0", {"name": ""}), (b"a_9=b=c\0", {"a_9": "b=c"}),
    (b"x" * 31 + b"=y\0", {"x" * 31: "y"}),
    ("name=ü😀\0".encode(), {"name": "ü😀"}),
    (b"uuid=no uuid\0later=1\0", {"uuid": "no uuid", "later": "1"}),
    (b"name=" + 4090 * b"n" + b"\0", {"name": 4090 * "n"}),
    (b"name=a", None), (b"\0", None), (b"name\0", None), (b"=a\0", None),
    (b"name=a\0\0", None), (b"x" * 32 + b"=y\0", None),
    (b"Name=a\0", None), (b"na-me=a\0", None), (b"name =a\0", None),
    (b"n\xc3\xa4me=a\0", None), (b"name=a\0name=a\0", None),
    (b"name=a\nb\0", None), (b"name=\x7f\0", None),
    (b"name=\xc2\x85\0", None), (b"name=\xff\0", None),
    (b"name=\xc0\x80\0", None), (b"name=\xed\xa0\x80\0", None),
    (b"name=\xf4\x90\x80\x80\0", None), (b"name=\xc3\0", None),
    (b"name=" + 4091 * b"n" + b"\0", None),
]


@pytest.mark.parametrize("body, values", IDENTITIES)
def test_identity(body, values):
    stream = moved(insert(L.ALIGNED_IDENTITY, 0x10, body))
    if values is None:
        assert "ALIGNED_IDENTITY" in refused(stream).what
        assert not read_by_index(stream)
        return
    decoder = Decoder(io.BytesIO(stream))
    assert b"".join(decoder) == HVM and decoder.identity == values
    assert IndexReader(io.BytesIO(stream)).identity == values


COMPAT_ORDER = [
    ("two STARTs", copy(L.PADDING, 0x10)),
    ("no START", drop(L.PADDING)),
    *((f"0x{t:x}", insert(t, 0x10))
      for t in RESERVED + (L.ALIGNED_HEADER, BATCH, INDEX, CHECK,
                           L.ALIGNED_IDENTITY)),
]


@pytest.mark.parametrize("case", COMPAT_ORDER, ids=lambda c: c[0])
def test_compat_order(case):
    refused(moved(case[1], COMPAT), v2=None)


def test_compat_padding_needs_its_batch():
    s = Sealed(COMPAT)
    second = s.find(L.PADDING)[1]
    s.records.insert(second + 1, [0x80000001, bytearray()])
    assert "behind PADDING" in refused(s.seal()).what
    s = Sealed(COMPAT)
    s.records.insert(second, [L.PADDING, bytearray(s.records[second][1])])
    assert "behind PADDING" in refused(s.seal()).what


@pytest.mark.parametrize("change", (
    (0, b"Y", "magic"), (8, u32(0), "BATCH"), (8, u32(1), "BATCH"),
    (8, u32(3), "BATCH"), (12, u32(1), "BATCH"), (16, b"\0\0", "checksum"),
    (24, b"\1", "non-zero")))
def test_compat_padding_fields(change):
    offset, value, reason = change
    r = [r for r in walk(COMPAT) if r.type == L.PADDING][1]
    at = r.offset + 8 + offset
    stream = COMPAT[:at] + value + COMPAT[at + len(value):]
    assert reason in refused(stream).what


@pytest.mark.parametrize("length", (0, 8, 16, 65544))
def test_compat_padding_length(length):
    r = [r for r in walk(COMPAT) if r.type == L.PADDING][1]
    body = (r.body + bytes(65544))[:length]
    stream = (COMPAT[:r.offset] + record(L.PADDING, body)
              + COMPAT[r.offset + len(r.raw):])
    assert "length" in refused(stream).what


# -- mutations in the large -------------------------------------------------

@pytest.mark.parametrize("seed", range(30))
def test_raw_mutations_of_v3_are_refused(seed):
    """Nothing short of new checksums gets a changed stream through.

    A context record is handed on before ALIGNED_CHECK is seen, so what came
    out may differ; but it never has its END.
    """
    v2 = Generator(seed, 12).stream()
    stream = commit_stream(encode_v3(v2, seed % 8), seed % 8)
    for n in range(40):
        what, changed = Mutator(1000 * seed + n).raw(stream)
        out, error = decode_some(changed, seed % 8)
        if changed == stream:
            continue
        assert error is not None, what
        with pytest.raises(StreamError):
            stream_length(out)


@pytest.mark.parametrize("seed", range(30))
def test_hostile_mutations_never_break_the_decoder(seed):
    """Refused, or accepted and then a stream that encodes to itself."""
    v2 = Generator(seed, 12).stream()
    stream = commit_stream(encode_v3(v2))
    for n in range(20):
        what, changed = Mutator(1000 * seed + n).any(stream)
        out, error = decode_some(changed)
        if error is None:
            again = commit_stream(encode_v3(out))
            assert decode(again) == out, what
