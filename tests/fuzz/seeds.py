#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The first corpus of every fuzz target.

python3 -m fuzz.seeds SYNTHETIC DIRECTORY

SYNTHETIC is the program that writes the unit tests' streams; the others come
from the golden vectors and the generator of the Python tests.
"""
import hashlib
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from model import layout as L
from model import codecs, domains, savefile, vector_text
from model.encoder import commit_stream, encode
from model.generator import Generator, domain_header, image_header, page_data
from model.header import header_of, with_header
from model.records import record
from model.xxh3 import xxh3

LARGEST = 16000
FORMATS = ("v2", "compat", "v3")

CONFIGS = (
    b'{"c_info":{"type":"pvh","name":"guest","uuid":"2b0c-11"},'
    b'"b_info":{"max_vcpus":2,"max_memkb":262144,"target_memkb":262144}}',
    b'{"c_info":{"name":"\\u00fc","type":"hvm"},"b_info":{"a":[1,{"b":[]}],'
    b'"max_vcpus":-1},"disks":[{"vdev":"xvda"}]}',
    b"[]", b"{}", b"null", b'{"b_info":{"max_memkb":9223372036854775807}}',
    b'{"b_info":{"max_memkb":1e400,"max_vcpus":99999999999999999999}}',
)
SETTINGS = (
    b'format = "v3"\nio="auto"\nengine = "uring"\nrestore_io="direct"\n'
    b'reserve = "yes"\n',
    b"# nothing\n", b"format=3\n", b'format=[ "v3", "v2" ]\n',
    b'io = "window"; engine=\'thread\'\nreserve=1\n', b'format = "v3',
    b'reserve="no"\nreserve="yes"\nother=12\n',
)
BANNER = b"xl migration receiver ready, send binary domain data.\n"
VARIABLES = b"v3\0direct\0thread\0buffered\0no\0/var/lib/xen/guest\0"


def synthetic(program: str) -> list:
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([program, directory], check=True)
        return [path.read_bytes() for path in Path(directory).iterdir()]


def generated() -> list:
    return [Generator(seed, 2).stream() for seed in range(400)]


def packable(seed: int) -> bytes:
    """A stream whose pages compress to a few bytes."""
    parts = [image_header(), domain_header(2)]
    for number in range(1 + seed % 3):
        count = 2 + (seed + number) % 5
        pages = [bytes([seed % 251 + 1]) * L.PAGE] * count
        if seed % 2:
            pages[1] = bytes(range(256)) * 16
        parts.append(page_data(list(range(100 * number,
                                          100 * number + count)), pages))
    return b"".join(parts) + record(L.END)


def finished(stream: bytes, start: int) -> list:
    """A v3 stream in the states that a reader takes."""
    old = header_of(stream)
    header = L.AlignedHeader(state=L.STREAMED, file_id=old.file_id,
                             mandatory_features=old.mandatory_features)
    return [commit_stream(stream, start), with_header(stream, header)]


class Corpus:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def add(self, target: str, data: bytes) -> None:
        if len(data) > LARGEST:
            return
        folder = self.directory / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)

    def stream(self, data: bytes, start: int = 0) -> None:
        for chunks in (0, 1):
            self.add("decoder", struct.pack("<BBHI", start % 256, 0, 0,
                                            chunks) + data)

    def v2(self, data: bytes) -> None:
        for number in range(3):
            self.add("encoder",
                     struct.pack("<BBHI", 8 * number, number & 1, number, 7)
                     + data)
        for flags in (2, 4, 12):        # compressed: fuzz_encoder.c
            self.add("encoder", struct.pack("<BBHI", 3, flags, 2, 7) + data)

    def file(self, data: bytes) -> None:
        for flags in (10, 8, 24, 12):
            self.add("savefile",
                     struct.pack("<BBHI", 1, flags, 0, 0) + data)
        for flags in (0, 1, 2):
            self.add("walk", struct.pack("<BBHI", 0, flags, 0, 0) + data)
        for flags in (0, 1):
            self.add("index", struct.pack("<BBHI", 0, flags, 0, 1) + data)
        for flags in (0, 1, 2, 3, 6):
            self.add("commands", struct.pack("<BBHI", 0, flags, 0, 0) + data)


    def core(self, v2: bytes) -> None:
        for format_ in FORMATS:
            self.core_file(savefile.build(v2, b"{}", b"", format_))
        for codec in codecs.MANDATORY:
            self.core_file(savefile.build(v2, b"{}", b"", "v3", codec=codec))

    def core_file(self, data: bytes) -> None:
        self.file(data)
        for flags in (0, 1, 2, 3, 5, 8, 9, 16):
            self.add("core", struct.pack("<BBHI", 0, flags, 0, 0) + data)


def add_streams(corpus: Corpus, streams: list) -> None:
    for v2 in streams:
        if len(v2) > LARGEST:
            continue
        corpus.v2(v2)
        corpus.stream(v2)
        corpus.stream(encode(v2, "compat", 8), 8)
        for codec in codecs.NAMES:
            for stream in finished(encode(v2, "v3", 3, codec=codec), 3):
                corpus.stream(stream, 3)


def hello_message(kind: int, body: bytes) -> bytes:
    head = struct.pack("<8sIIQ", b"XENHELLO", kind, len(body), 0)
    return head[:16] + struct.pack("<Q", xxh3(head + body)) + body


def add_hello(corpus: Corpus) -> None:
    for role in (1, 2):
        hello = hello_message(1, struct.pack(
            "<HHIQQQII", 2, 3, 40, 5, 1, 1, role, 0) + b"xl-aligned 1\n")
        for status in (0, 2):
            result = hello_message(2, struct.pack(
                "<IHHIIQQ", status, 3, 0, 32, 0, 5, 1) + b"why not\n")
            for flags in range(64):
                corpus.add("hello", struct.pack(
                    "<BBHI", 0, flags, 0, flags & 1) + hello + result)
    for flags in range(8):
        corpus.add("hello", struct.pack("<BBHI", 0, flags, 0, 0) + BANNER)


def add_files(corpus: Corpus) -> None:
    for seed in range(120):
        v2, config, tail = Generator(seed, 2).parts()
        for format_ in FORMATS:
            data = savefile.build(v2, config[:600], tail, format_)
            corpus.file(data)
        if seed % 4 == 0:
            for codec in codecs.MANDATORY:
                corpus.file(savefile.build(packable(seed), config[:600],
                                           tail, "v3", codec=codec))
        head = savefile.xl_head(b"{}") + savefile.libxl_head()
        corpus.file(head + encode(v2, "v3", len(head)) + tail)


VMCOREINFO = (b"OSRELEASE=6.1\nSYMBOL(_stext)=ffffffff81000000\n"
              b"NUMBER(phys_base)=-4096\n")


def vmcoreinfo_page() -> bytes:
    note = struct.pack("<III12s", 11, len(VMCOREINFO), 0, b"VMCOREINFO")
    return (note + VMCOREINFO).ljust(L.PAGE, b"\0")


def add_cores(corpus: Corpus) -> None:
    cpu = domains.cpu_record(0)
    plain = bytes([7]) * L.PAGE
    kernel = page_data([0x9f, 0xa0, 0x1000, 0x1001, 0xf << 60],
                       [plain, plain, vmcoreinfo_page(), L.ZERO_PAGE])
    zeros = page_data(list(range(0, 40, 2)), [L.ZERO_PAGE] * 20)
    again = page_data([3, 2], [plain, L.ZERO_PAGE])
    for pages in (b"", kernel, zeros, again, kernel + again, zeros + again):
        for cpus in ([cpu], [cpu[:1024], cpu], []):
            corpus.core(domains.hvm_stream(pages, cpus))
    for width in (4, 8):
        entries = L.PAGE // width
        table = b"".join((0x500 + i if i < 8 else (1 << 8 * width) - 1)
                         .to_bytes(width, "little") for i in range(entries))
        level = struct.pack("<Q", 3 << 12 | 1) * (L.PAGE // 8)
        vcpu = bytes(domains.CONTEXT[width])
        for first in (0, 3 * entries):
            frames = domains.p2m_frames(first, first + entries - 1, [5])
            pages = page_data([first, 2 | 1 << 60, 5, 6],
                              [plain, level, table, L.ZERO_PAGE])
            corpus.core(domains.pv_stream(width, frames, pages, [vcpu],
                                          bytes(L.PAGE)))
            corpus.core(domains.pv_stream(width, frames,
                                          page_data([5, 6], [table] * 2),
                                          [vcpu]))


def main(arguments: list) -> int:
    program, directory = arguments
    corpus = Corpus(Path(directory))
    for vector in vector_text.load_all():
        if vector.data.startswith(savefile.XL_MAGIC):
            corpus.file(vector.data)
            continue
        corpus.stream(vector.data, vector.start)
        if vector.format == "v2":
            corpus.v2(vector.data)
    for data in synthetic(program):
        corpus.stream(data)
        corpus.v2(data)
    add_streams(corpus, generated())
    add_streams(corpus, [packable(seed) for seed in range(24)])
    add_files(corpus)
    add_cores(corpus)
    add_hello(corpus)
    for text in CONFIGS:
        corpus.add("domain_config", text)
    for text in SETTINGS:
        corpus.add("settings", b"\0" + text)
    corpus.add("settings", b"\1" + VARIABLES + SETTINGS[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
