# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures of the tests of the plugin without Xen (plugin/bench.py)."""
from pathlib import Path

import pytest

from plugin.bench import build_tools


@pytest.fixture(scope="module")
def tools(tmp_path_factory) -> Path:
    """A fake libxenlight, save helper and toolstack; a module's own."""
    folder = tmp_path_factory.mktemp("tools")
    build_tools(folder)
    return folder
