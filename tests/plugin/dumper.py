# SPDX-License-Identifier: LGPL-2.1-or-later
"""A domain that is a file, for the dump engine over core_fake_xen.c."""
import os
import random
import subprocess
from pathlib import Path

from support import BUILD

LIBRARY = Path(os.environ.get("LIBXL_ALIGNED",
                              BUILD / "libxl-aligned.so.0"))
PAGE = 4096
ZERO = bytes(PAGE)
RNG = random.Random(11)


class Domain:
    """Pages, some of them zero, some not there."""

    def __init__(self, directory: Path, pages: int, present: str,
                 **settings) -> None:
        self.directory = directory
        self.pages = [ZERO if i % 6 > 3 or 2000 <= i < 3000
                      else RNG.randbytes(PAGE) for i in range(pages)]
        self.path = directory / "memory"
        self.path.write_bytes(b"".join(self.pages))
        self.present = set()
        for part in present.split(","):
            first, last = (int(word, 16) for word in part.split("-"))
            self.present |= set(range(first, min(last + 1, pages)))
        # A PV domain's pages are those that its table names.
        if settings.get("kind") == "pv":
            self.present = {pfn for pfn in self.present if pfn % 50 != 49}
        self.environment = {"FAKE_MEMORY": str(self.path),
                            "FAKE_PRESENT": present}
        self.environment |= {f"FAKE_{key.upper()}": str(value)
                             for key, value in settings.items()}
        self.out = directory / "core"

    def expected(self) -> dict:
        return {pfn: self.pages[pfn] for pfn in sorted(self.present)}

    def dump(self, program: Path, domid: int = 7, out=None, **environment):
        env = {key: value for key, value in os.environ.items()
               if not key.startswith(("XL_ALIGNED", "FAKE", "LD_PRELOAD"))}
        env |= self.environment | {key: str(value) for key, value
                                   in environment.items()}
        env["LD_PRELOAD"] = str(LIBRARY)
        return subprocess.run([program, str(domid), out or self.out],
                              env=env, capture_output=True, text=True,
                              timeout=120, cwd=self.directory)

    def good(self, program: Path, **environment) -> Path:
        done = self.dump(program, **environment)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        self.clean()
        return self.out

    def clean(self) -> None:
        """Nothing but the domain and perhaps its core is there."""
        assert not list(self.directory.glob("*.partial"))


HVM = dict(pages=6000, present="0-9e,a1-a3,c0-300,5dc-fff,1500-1700")
PV = dict(pages=6000, present="0-fff,1100-1700", kind="pv")
