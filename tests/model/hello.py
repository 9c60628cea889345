# SPDX-License-Identifier: LGPL-2.1-or-later
"""HELLO as docs/spec/negotiation.md has it: a peer that is not this one."""
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

from .xxh3 import xxh3

MAGIC = b"XENHELLO"
HEADER = struct.Struct("<8sIIQ")
HELLO = struct.Struct("<HHIQQQII")
RESULT = struct.Struct("<IHHIIQQ")
KIND_HELLO, KIND_RESULT = 1, 2
SENDER, RECEIVER = 1, 2
POLICY, BUSY, BROKEN = 4, 5, 6
BANNER = b"xl migration receiver ready, send binary domain data.\n"


def message(kind: int, body: bytes) -> bytes:
    plain = HEADER.pack(MAGIC, kind, len(body), 0) + body
    return HEADER.pack(MAGIC, kind, len(body), xxh3(plain)) + body


@dataclass
class Offer:
    role: int
    version_min: int = 2
    version_max: int = 3
    features: int = 0
    required: int = 0
    optional: int = 0
    request: int = 0
    text: bytes = b"other 2.0"

    def pack(self) -> bytes:
        body = HELLO.pack(self.version_min, self.version_max, HELLO.size,
                          self.features, self.required, self.optional,
                          self.role, self.request)
        return message(KIND_HELLO, body + self.text)

    @classmethod
    def unpack(cls, body: bytes) -> "Offer":
        low, high, offset, features, required, optional, role, request = (
            HELLO.unpack_from(body))
        return cls(role, low, high, features, required, optional, request,
                   body[offset:])


@dataclass
class Outcome:
    status: int = 0
    version: int = 0
    features: int = 0
    optional: int = 0
    text: bytes = b""

    def pack(self) -> bytes:
        body = RESULT.pack(self.status, self.version, 0, RESULT.size, 0,
                           self.features, self.optional)
        return message(KIND_RESULT, body + self.text)

    @classmethod
    def unpack(cls, body: bytes) -> "Outcome":
        status, version, _, offset, _, features, optional = (
            RESULT.unpack_from(body))
        return cls(status, version, features, optional, body[offset:])


def outcome(a: Offer, b: Offer) -> Outcome:
    """Section 4; a status other than 0 without its text."""
    version = min(a.version_max, b.version_max)
    if version < max(a.version_min, b.version_min):
        return Outcome(1)
    known = version >= 3
    features = a.features & b.features if known else 0
    if (a.required | b.required) & ~features:
        return Outcome(2)
    return Outcome(0, version, features,
                   a.optional & b.optional if known else 0)


class Closed(Exception):
    """The link ended."""


def receive(sock: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = sock.recv(length - len(data))
        if not more:
            raise Closed(data)
        data += more
    return data


def receive_message(sock: socket.socket) -> tuple[int, bytes]:
    head = receive(sock, HEADER.size)
    magic, kind, length, checksum = HEADER.unpack(head)
    assert magic == MAGIC and length <= 4096 - HEADER.size, head
    body = receive(sock, length)
    plain = HEADER.pack(magic, kind, length, 0) + body
    assert xxh3(plain) == checksum
    return kind, body


def refusal(sock: socket.socket) -> Outcome:
    """Section 4: a RESULT that is not AGREED, whatever came before it."""
    result = Outcome()
    while not result.status:
        kind, body = receive_message(sock)
        if kind == KIND_RESULT:
            result = Outcome.unpack(body)
    assert not (result.version or result.features or result.optional)
    assert result.text and all(0x20 <= c < 0x7f for c in result.text)
    assert not sock.recv(1)
    return result


def negotiate(sock: socket.socket, own: Offer,
              first: bool) -> tuple[Offer, Outcome, Outcome]:
    """The whole exchange: the peer's offer, our outcome and its."""
    if first:
        sock.sendall(own.pack())
    kind, body = receive_message(sock)
    assert kind == KIND_HELLO, kind
    peer = Offer.unpack(body)
    if not first:
        sock.sendall(own.pack())
    ours = outcome(own, peer)
    # A peer that has refused may be gone; what it said is still to be read.
    with suppress(BrokenPipeError):
        sock.sendall(ours.pack())
    kind, body = receive_message(sock)
    assert kind == KIND_RESULT, kind
    return peer, ours, Outcome.unpack(body)
