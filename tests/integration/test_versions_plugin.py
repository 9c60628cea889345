# SPDX-License-Identifier: LGPL-2.1-or-later
"""One build of the plugin under the libxl of several versions of Xen."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from plugin.bench import Bench, build_tools             # noqa: E402


@pytest.mark.parametrize("minor,size,type_at", [
    (14, 112, 108), (16, 112, 108), (17, 120, 112), (20, 120, 112),
    # A later one that has grown.
    (99, 2048, 112),
])
def test_layouts_of_dominfo(tmp_path_factory, tmp_path, minor, size, type_at):
    """A PV domain is known as one, and nothing beside it is written."""
    tools = tmp_path_factory.mktemp("tools")
    build_tools(tools, f"libxenlight.so.4.{minor}",
                f"-DDOMINFO_SIZE={size}", f"-DDOMINFO_TYPE={type_at}")
    bench = Bench(tools, tmp_path)
    for pv, flags in ((None, 2), ("yes", 0)):
        result = bench.run("save", tmp_path / "file", XL_ALIGNED_LIVE="yes",
                           FAKE_PV=pv, FAKE_MEMKB="2048",
                           XL_ALIGNED_CONFIG="")
        assert result.status == 0, result
        assert bench.log()[-2] == f"suspend domid=1 flags={flags} ao=0"
        assert bool(result.lines) == bool(pv), result
