# SPDX-License-Identifier: LGPL-2.1-or-later
"""Save files of which every page is known."""
import random

from commands.program import CONFIG
from model import layout as L
from model import savefile
from model.generator import domain_header, image_header, page_data
from model.records import record

TAIL = savefile.hvm_tail(b"physmap/0\0f0000000\0", b"\x5a" * 600)


def stream(batches) -> bytes:
    """A v2 stream of (pfn, contents or None) lists."""
    parts = [image_header(), domain_header(2), record(0x10, b"")]
    for batch in batches:
        parts.append(page_data(
            [pfn if page is not None else 0xf << 60 | pfn
             for pfn, page in batch],
            [page for _, page in batch if page is not None]))
    return b"".join(parts) + record(0, b"")


def random_batches(seed: int, live: bool) -> list:
    """Pages of a guest; of one that runs, some come again and again."""
    rng = random.Random(seed)

    def page():
        kind = rng.randrange(4)
        if kind == 0:
            return L.ZERO_PAGE
        return None if kind == 1 else rng.randbytes(L.PAGE)

    pfns = sorted(rng.sample(range(600), 300))
    pfns += [1 << 20, (1 << 40) + 5]
    batches = [[(pfn, page()) for pfn in pfns[at:at + 64]]
               for at in range(0, len(pfns), 64)]
    for _ in range(3 if live else 0):
        again = sorted(rng.sample(pfns, 70))
        batches.append([(pfn, page()) for pfn in again])
    return batches


def write(path, batches, format_, config=CONFIG):
    path.write_bytes(savefile.build(stream(batches), config, TAIL, format_))
    return path


def changed_pages(batches, seed):
    rng = random.Random(seed)
    out = []
    for batch in batches:
        out.append([(pfn, rng.choice((page, page, page,
                                      rng.randbytes(L.PAGE), None,
                                      L.ZERO_PAGE)))
                    for pfn, page in batch])
    # A batch of which nothing changed, and one more.
    out[1] = batches[1]
    out.append([((1 << 30) + i, b"\7" * L.PAGE) for i in range(3)])
    return out
