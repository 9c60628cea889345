# SPDX-License-Identifier: LGPL-2.1-or-later
"""Another user, and what that user must not change."""
import subprocess

from commands.pages import TAIL, stream
from commands.program import CONFIG
from model import savefile

NOBODY = 65534
V2 = savefile.build(stream([[(3, b"\xaa" * 4096)]]), CONFIG, TAIL, "v2")
SECRET = b"a file that only root may write"


def nobody(*command) -> None:
    """Runs a command as another user."""
    subprocess.run([str(word) for word in command], check=True, user=NOBODY,
                   group=NOBODY, extra_groups=[])
