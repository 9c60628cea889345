# SPDX-License-Identifier: LGPL-2.1-or-later
"""v2 streams whose pages compress as a guest's might."""
import random

from . import layout as L
from .generator import domain_header, image_header, page_data
from .records import record


def words(seed: int, count: int) -> list:
    """Pages that a guest might have: they compress, but not to nothing."""
    rng = random.Random(seed)
    vocabulary = [rng.randbytes(rng.randint(2, 12)) for _ in range(200)]
    return [b"".join(rng.choice(vocabulary) for _ in range(2048))[:L.PAGE]
            for _ in range(count)]


def stream(*batches) -> bytes:
    return (image_header() + domain_header(2) + record(0x10)
            + b"".join(batches) + record(0x9, b"context " * 9)
            + record(L.END))


def compressible(seed: int, batches: int = 3, count: int = 40) -> bytes:
    parts = []
    for number in range(batches):
        pages = words(seed * 1000 + number, count)
        pages[::7] = [L.ZERO_PAGE] * len(pages[::7])
        first = number * count
        parts.append(page_data(list(range(first, first + count)), pages))
    return stream(*parts)
