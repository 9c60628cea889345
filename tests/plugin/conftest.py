# SPDX-License-Identifier: LGPL-2.1-or-later
import pytest

from model.generator import Generator
from model.records import record
from plugin.bench import Bench


@pytest.fixture
def bench(tools, tmp_path) -> Bench:
    """Saves an HVM domain; several modules have one of their own."""
    return Bench(tools, tmp_path, Generator(3).hvm(),
                 record(3, b"emulator state"))
