# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures of the tests of the plugin without Xen (plugin/bench.py)."""
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from plugin.bench import build_tools                    # noqa: E402


@pytest.fixture(scope="module")
def tools(tmp_path_factory) -> Path:
    """A fake libxenlight, save helper and toolstack; a module's own."""
    folder = tmp_path_factory.mktemp("tools")
    build_tools(folder)
    return folder
