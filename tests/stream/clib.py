# SPDX-License-Identifier: LGPL-2.1-or-later
"""The C library, build/libxensave.so.0, by ctypes (xensave.h).

XENSAVE_LIBRARY names another build of it.
"""
import ctypes as C
import os
import random
import threading
from pathlib import Path
from typing import Optional

from model import layout as L
from model.encoder import FILE_ID

LIBRARY = Path(os.environ.get(
    "XENSAVE_LIBRARY",
    Path(__file__).parents[2] / "build" / "libxensave.so.0"))
FORMATS = ("v2", "compat", "v3")
IO = ("auto", "direct", "window", "buffered")
ENGINES = ("auto", "uring", "thread")


class Error(C.Structure):
    _fields_ = [("errnum", C.c_int), ("has_offset", C.c_bool),
                ("offset", C.c_uint64), ("record", C.c_uint64),
                ("text", C.c_char * 512)]


class Totals(C.Structure):
    _fields_ = [(name, C.c_uint64) for name in (
        "records", "batches", "pages_stored", "pages_zero", "bytes",
        "v2_bytes")]


class Options(C.Structure):
    """Options whose first member is their size."""

    def __init__(self, *values) -> None:
        super().__init__(C.sizeof(self), *values)


class IoOptions(Options):
    _fields_ = [("size", C.c_size_t), ("io", C.c_int), ("engine", C.c_int),
                ("buffer_size", C.c_uint32), ("buffers", C.c_uint32),
                ("reserve", C.c_uint64)]


class EncoderOptions(Options):
    _fields_ = [("size", C.c_size_t), ("format", C.c_int), ("head_padding", C.c_uint32),
                ("keep_zero_pages", C.c_bool), ("codec", C.c_int),
                ("level", C.c_int), ("all", C.c_bool),
                ("threads", C.c_uint32), ("file_id", C.c_uint8 * 16),
                ("identity", C.c_char_p)]


class Compression(C.Structure):
    _fields_ = [("codec", C.c_int), ("level", C.c_int), ("all", C.c_bool)]


class Iovec(C.Structure):
    _fields_ = [("base", C.c_void_p), ("length", C.c_size_t)]


class AlignedHeader(C.Structure):
    _fields_ = [("magic", C.c_char * 8), ("version", C.c_uint32),
                ("min_reader_version", C.c_uint32),
                ("mandatory_features", C.c_uint64),
                ("optional_features", C.c_uint64),
                ("alignment", C.c_uint32), ("state", C.c_uint32),
                ("file_id", C.c_uint8 * 16)] + [
        (name, C.c_uint64) for name in (
            "stream_start", "stream_length", "file_length", "index_offset",
            "batches", "pages_stored", "pages_zero", "head_checksum",
            "tail_checksum", "header_checksum")]


class Savefile(C.Structure):
    _fields_ = [("xl_head", C.c_bool), ("config_offset", C.c_uint64),
                ("config_length", C.c_uint64), ("libxl_offset", C.c_uint64),
                ("stream_start", C.c_uint64), ("guest_type", C.c_uint32),
                ("xen_major", C.c_uint16), ("xen_minor", C.c_uint16),
                ("image_version", C.c_uint32), ("format", C.c_int),
                ("head_padding", C.c_uint32), ("header", AlignedHeader),
                ("header_length", C.c_uint32),
                ("file_size", C.c_uint64), ("is_device", C.c_bool)]


class IndexPage(C.Structure):
    _fields_ = [("kind", C.c_uint8), ("type", C.c_uint8),
                ("place", C.c_uint16), ("batch", C.c_uint32),
                ("offset", C.c_uint64)]


class LibraryError(Exception):
    """A call that failed; the struct xensave_error that it filled."""

    def __init__(self, error: Error) -> None:
        self.text = error.text.decode()
        self.errnum = error.errnum
        self.has_offset = error.has_offset
        self.offset = error.offset
        self.record = error.record
        super().__init__(self.text or "error without a text")


_P, _E = C.c_void_p, C.POINTER(Error)
_PROTOTYPES = {
    "xensave_sink_open_file": (_P, C.c_int, C.POINTER(IoOptions), _E),
    "xensave_sink_open_stream": (_P, C.c_int, _E),
    "xensave_sink_open_memory": (_P, C.c_uint64, C.POINTER(_P),
                            C.POINTER(C.c_size_t), _E),
    "xensave_sink_free": (None, _P),
    "xensave_source_open_file": (_P, C.c_int, C.POINTER(IoOptions), _E),
    "xensave_source_open_stream": (_P, C.c_int, _E),
    "xensave_source_open_memory": (_P, C.c_char_p, C.c_size_t, C.c_uint64, _E),
    "xensave_source_free": (None, _P),
    "xensave_codec_name": (C.c_char_p, C.c_int),
    "xensave_compression_parse": (C.c_int, C.c_char_p, C.POINTER(Compression)),
    "xensave_encoder_new": (_P, _P, C.POINTER(EncoderOptions)),
    "xensave_encoder_push": (C.c_int, _P, C.c_char_p, C.c_size_t),
    "xensave_encoder_pushv": (C.c_int, _P, C.POINTER(Iovec), C.c_int),
    "xensave_encoder_ended": (C.c_bool, _P),
    "xensave_encoder_totals": (None, _P, C.POINTER(Totals)),
    "xensave_encoder_free": (None, _P),
    "xensave_decoder_new": (_P, _P),
    "xensave_decoder_read": (C.c_int, _P, _P, C.c_size_t),
    "xensave_decoder_read_some": (C.c_ssize_t, _P, _P, C.c_size_t),
    "xensave_decoder_ended": (C.c_bool, _P),
    "xensave_decoder_format": (C.c_int, _P),
    "xensave_decoder_identity": (C.c_char_p, _P),
    "xensave_decoder_totals": (None, _P, C.POINTER(Totals)),
    "xensave_decoder_free": (None, _P),
    "xensave_file_probe": (C.c_int, C.c_int, C.c_uint64,
                          C.POINTER(Savefile), _E),
    "xensave_file_check": (C.c_int, C.c_int, C.POINTER(Savefile), _E),
    "xensave_file_commit": (C.c_int, C.c_int, C.POINTER(Savefile),
                           C.c_uint64, _E),
    "xensave_index_open": (_P, C.c_int, C.POINTER(Savefile), _E),
    "xensave_index_next": (C.c_int, _P, C.c_uint64,
                           C.POINTER(C.c_uint64)),
    "xensave_index_map": (C.c_int, _P, C.c_uint64, C.c_uint32,
                          C.POINTER(IndexPage)),
    "xensave_index_read": (C.c_int, _P, C.POINTER(IndexPage), _P),
    "xensave_index_free": (None, _P),
    "xensave_file_align_head": (C.c_int, C.c_int, C.POINTER(C.c_uint32), _E),
}
_loaded = None


def library():
    global _loaded
    if _loaded is None:
        if not LIBRARY.exists():
            raise FileNotFoundError(f"{LIBRARY} is missing: run make first")
        _loaded = C.CDLL(str(LIBRARY))
        for name, (result, *arguments) in _PROTOTYPES.items():
            function = getattr(_loaded, name)
            function.restype, function.argtypes = result, arguments
    return _loaded


_libc = C.CDLL(None)
_libc.free.argtypes = [C.c_void_p]


class Chunks:
    """Random lengths for pushes and reads, small and large."""

    def __init__(self, seed: Optional[int]) -> None:
        self.random = None if seed is None else random.Random(seed)

    def next(self) -> int:
        if self.random is None:
            return 1 << 20
        most = self.random.choice((1, 8, 24, 100, 4096, 5000, 1 << 16,
                                   1 << 20))
        return self.random.randint(1, most)

    def flip(self) -> bool:
        return self.random is not None and self.random.random() < 0.5


def _push(lib, encoder, v2: bytes, chunks: Chunks) -> bool:
    """False when a push failed."""
    at = 0
    while at < len(v2):
        if chunks.flip():
            parts = [v2[at:at + chunks.next()]]
            at += len(parts[0])
            for _ in range(chunks.random.randrange(6)):
                parts.append(v2[at:at + chunks.next()])
                at += len(parts[-1])
            iov = (Iovec * len(parts))(*(
                Iovec(C.cast(C.c_char_p(part), C.c_void_p), len(part))
                for part in parts))
            if lib.xensave_encoder_pushv(encoder, iov, len(parts)):
                return False
        else:
            part = v2[at:at + chunks.next()]
            at += len(part)
            if lib.xensave_encoder_push(encoder, part, len(part)):
                return False
    return True


def lines(identity: Optional[dict]) -> Optional[bytes]:
    """An identity as the library takes it."""
    return None if identity is None else "".join(
        f"{key}={value}\n" for key, value in identity.items()).encode()


def _encode(sink, error: Error, v2: bytes, format_: str, head_padding: int,
            keep_zero: bool, seed: Optional[int], codec: int = 0,
            level: int = 0, threads: int = 0, all_: bool = True,
            file_id: bytes = FILE_ID,
            identity: Optional[dict] = None) -> dict:
    """Pushes a stream into a sink, which is freed; the totals."""
    lib = library()
    if not sink:
        raise LibraryError(error)
    encoder = None
    try:
        options = EncoderOptions(FORMATS.index(format_), head_padding,
                                 keep_zero, codec, level, all_, threads,
                                 (C.c_uint8 * 16)(*file_id), lines(identity))
        encoder = lib.xensave_encoder_new(sink, C.byref(options))
        if not encoder or not _push(lib, encoder, v2, Chunks(seed)):
            raise LibraryError(error)
        if not lib.xensave_encoder_ended(encoder):
            raise AssertionError("not ended, and no error")
        totals = Totals()
        lib.xensave_encoder_totals(encoder, C.byref(totals))
        return {name: getattr(totals, name) for name, _ in totals._fields_}
    finally:
        if encoder:
            lib.xensave_encoder_free(encoder)
        lib.xensave_sink_free(sink)


def encode(v2: bytes, format_: str, start: int = 0, *, head_padding: int = 0,
           keep_zero: bool = False, seed: Optional[int] = None,
           **packing) -> bytes:
    """Through the memory sink; `packing`: codec, level, threads, all_,
    file_id, identity."""
    data, length, error = C.c_void_p(), C.c_size_t(), Error()
    sink = library().xensave_sink_open_memory(
        start, C.byref(data), C.byref(length), C.byref(error))
    _encode(sink, error, v2, format_, head_padding, keep_zero, seed,
            **packing)
    result = C.string_at(data, length.value)
    _libc.free(data)
    return result


def encode_fd(fd: int, v2: bytes, format_: str, *, head_padding: int = 0,
              keep_zero: bool = False, seed: Optional[int] = None,
              io: str = "auto", engine: str = "auto", reserve: int = 0,
              buffer_size: int = 0, buffers: int = 0, **packing) -> dict:
    """Into a file, at the offset of its fd."""
    options = IoOptions(IO.index(io), ENGINES.index(engine), buffer_size,
                        buffers, reserve)
    error = Error()
    sink = library().xensave_sink_open_file(fd, C.byref(options), C.byref(error))
    return _encode(sink, error, v2, format_, head_padding, keep_zero, seed,
                   **packing)


def encode_stream(fd: int, v2: bytes, format_: str,
                  seed: Optional[int] = None, head_padding: int = 0,
                  **packing) -> dict:
    """Into a pipe or socket."""
    error = Error()
    sink = library().xensave_sink_open_stream(fd, C.byref(error))
    return _encode(sink, error, v2, format_, head_padding, False, seed,
                   **packing)


def encode_pipe(v2: bytes, format_: str, seed: Optional[int] = None,
                head_padding: int = 0, **packing) -> bytes:
    """Through a pipe."""
    reader, writer = os.pipe()
    parts = []

    def drain() -> None:
        with os.fdopen(reader, "rb") as file:
            parts.append(file.read())

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        encode_stream(writer, v2, format_, seed, head_padding, **packing)
    finally:
        os.close(writer)
        thread.join()
    return parts[0]


class Decoded:
    """What a decoder handed out, and how it ended."""

    def __init__(self) -> None:
        self.v2 = b""
        self.error: Optional[LibraryError] = None
        self.format = ""
        self.ended = False
        self.identity: Optional[dict] = None
        self.totals: dict = {}


def _read_all(lib, decoder, error: Error, result: Decoded,
              chunks: Chunks) -> None:
    parts = []
    buffer = C.create_string_buffer(1 << 20)
    while True:
        length = chunks.next()
        n = lib.xensave_decoder_read_some(decoder, buffer, length)
        if n < 0:
            result.error = LibraryError(error)
            break
        if n > length:
            raise AssertionError(f"{n} bytes for {length}")
        parts.append(C.string_at(buffer, n))
        if n == 0:
            break
    result.v2 = b"".join(parts)


def _read_exact(lib, decoder, error: Error, result: Decoded,
                chunks: Chunks, length: int) -> None:
    """Reads of exact lengths, `length` bytes in all."""
    parts = []
    while length:
        n = min(chunks.next(), length)
        buffer = C.create_string_buffer(n)
        if lib.xensave_decoder_read(decoder, buffer, n):
            result.error = LibraryError(error)
            break
        parts.append(buffer.raw)
        length -= n
    result.v2 = b"".join(parts)


def _decode(source, error: Error, seed: Optional[int],
            exact: Optional[int] = None) -> Decoded:
    lib = library()
    if not source:
        raise LibraryError(error)
    result = Decoded()
    decoder = None
    try:
        decoder = lib.xensave_decoder_new(source)
        if not decoder:
            result.error = LibraryError(error)
            return result
        if exact is None:
            _read_all(lib, decoder, error, result, Chunks(seed))
        else:
            _read_exact(lib, decoder, error, result, Chunks(seed), exact)
        result.ended = lib.xensave_decoder_ended(decoder)
        result.format = FORMATS[lib.xensave_decoder_format(decoder)]
        identity = lib.xensave_decoder_identity(decoder)
        if identity is not None:
            result.identity = dict(
                line.split("=", 1) for line in
                identity.decode().split("\n")[:-1])
        totals = Totals()
        lib.xensave_decoder_totals(decoder, C.byref(totals))
        result.totals = {name: getattr(totals, name)
                         for name, _ in totals._fields_}
        return result
    finally:
        if decoder:
            lib.xensave_decoder_free(decoder)
        lib.xensave_source_free(source)


def decode(stream: bytes, start: int = 0, *, seed: Optional[int] = None,
           exact: Optional[int] = None) -> Decoded:
    """From memory; `stream` begins at its image header."""
    error = Error()
    source = library().xensave_source_open_memory(stream, len(stream), start,
                                             C.byref(error))
    return _decode(source, error, seed, exact)


def decode_fd(fd: int, *, seed: Optional[int] = None, io: str = "auto",
              engine: str = "auto", buffer_size: int = 0,
              buffers: int = 0) -> Decoded:
    """From a file, at the offset of its fd."""
    options = IoOptions(IO.index(io), ENGINES.index(engine), buffer_size,
                        buffers, 0)
    error = Error()
    source = library().xensave_source_open_file(fd, C.byref(options),
                                           C.byref(error))
    return _decode(source, error, seed)


def decode_pipe(stream: bytes, seed: Optional[int] = None) -> tuple:
    """(Decoded, bytes left unread) through a pipe."""
    reader, writer = os.pipe()

    def feed() -> None:
        with os.fdopen(writer, "wb") as file:
            try:
                file.write(stream)
            except BrokenPipeError:
                pass

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        error = Error()
        source = library().xensave_source_open_stream(reader, C.byref(error))
        result = _decode(source, error, seed)
        with os.fdopen(os.dup(reader), "rb") as file:
            left = file.read() if result.error is None else b""
    finally:
        os.close(reader)
        thread.join()
    return result, left


def parse_compression(text: str) -> tuple:
    """(codec, level, all)"""
    parsed = Compression()
    if library().xensave_compression_parse(text.encode(), C.byref(parsed)):
        raise ValueError(text)
    return parsed.codec, parsed.level, parsed.all


def codec_name(codec: int) -> str:
    return library().xensave_codec_name(codec).decode()


def probe(fd: int, libxl_offset: int = (1 << 64) - 1) -> Savefile:
    savefile, error = Savefile(), Error()
    if library().xensave_file_probe(fd, libxl_offset, C.byref(savefile),
                                   C.byref(error)):
        raise LibraryError(error)
    return savefile


def check(fd: int, savefile: Savefile) -> None:
    error = Error()
    if library().xensave_file_check(fd, C.byref(savefile), C.byref(error)):
        raise LibraryError(error)


def index_pages(fd: int, savefile: Savefile) -> dict:
    """{pfn: contents} of all that the index finds, one page after another."""
    lib, error = library(), Error()
    index = lib.xensave_index_open(fd, C.byref(savefile), C.byref(error))
    if not index:
        raise LibraryError(error)
    pages, pfn, page = {}, C.c_uint64(), IndexPage()
    contents = C.create_string_buffer(L.PAGE)
    try:
        while not lib.xensave_index_next(index, len(pages) and pfn.value + 1,
                                         C.byref(pfn)):
            if pfn.value == (1 << 64) - 1:
                return pages
            if (lib.xensave_index_map(index, pfn.value, 1, C.byref(page))
                    or lib.xensave_index_read(index, C.byref(page),
                                              contents)):
                break
            pages[pfn.value] = contents.raw
        raise LibraryError(error)
    finally:
        lib.xensave_index_free(index)


def commit(fd: int, savefile: Savefile, length: int) -> None:
    error = Error()
    if library().xensave_file_commit(fd, C.byref(savefile), length,
                                    C.byref(error)):
        raise LibraryError(error)


def align_head(fd: int) -> int:
    padding, error = C.c_uint32(), Error()
    if library().xensave_file_align_head(fd, C.byref(padding),
                                        C.byref(error)):
        raise LibraryError(error)
    return padding.value


assert C.sizeof(AlignedHeader) == L.AlignedHeader.FORMAT.size
