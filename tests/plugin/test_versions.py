# SPDX-License-Identifier: LGPL-2.1-or-later
"""One build of the plugin under the libxl of several versions of Xen."""

import pytest

from plugin.bench import Bench
from support import build_fakes


@pytest.mark.parametrize("minor,size,type_at", [
    (16, 112, 108), (17, 120, 112),
    # A later one that has grown.
    (99, 2048, 112),
])
def test_layouts_of_dominfo(tmp_path_factory, tmp_path, minor, size, type_at):
    """A PV domain is known as one, and nothing beside it is written."""
    tools = tmp_path_factory.mktemp("tools")
    build_fakes(tools, f"libxenlight.so.4.{minor}",
                f"-DDOMINFO_SIZE={size}", f"-DDOMINFO_TYPE={type_at}")
    bench = Bench(tools, tmp_path)
    for pv, flags in ((None, 2), ("yes", 0)):
        result = bench.run("save", tmp_path / "file", XL_ALIGNED_LIVE="yes",
                           FAKE_PV=pv, FAKE_MEMKB="2048",
                           XL_ALIGNED_CONFIG="")
        assert result.status == 0, result
        assert bench.log()[-2] == f"suspend domid=1 flags={flags} ao=0"
        assert bool(result.lines) == bool(pv), result


# ---- resuming ----------------------------------------------------------


@pytest.mark.parametrize("minor,lost,cancel,fast", [
    # Up to 4.14 libxl loses suspend_cancel of PV and PVH domains.
    (14, True, 1, 1), (14, True, 0, 0), (14, False, 1, 1),
    # A later one is not interfered with.
    (15, False, 1, 1), (15, False, 0, 0), (15, True, 1, 0),
])
def test_a_resume_keeps_suspend_cancel(tmp_path_factory, tmp_path, minor,
                                       lost, cancel, fast):
    tools = tmp_path_factory.mktemp("tools")
    build_fakes(tools, f"libxenlight.so.4.{minor}",
                "-DCANCEL_LOST" if lost else "")
    bench = Bench(tools, tmp_path)
    result = bench.run("resume", cancel)
    assert result.status == 0 and not result.lines, result
    assert bench.log() == [f"resume domid=1 cancel={cancel}",
                           "xc_domain_resume domid=2 fast=0",
                           f"xc_domain_resume domid=1 fast={fast}"]


# ---- the monitor of a domain -------------------------------------------


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The tools of the last version whose xl exits."""
    tools = tmp_path_factory.mktemp("old")
    build_fakes(tools, "libxenlight.so.4.19")
    return tools


@pytest.mark.parametrize("events,says", [
    # A checkpoint, or a failed save, and what comes after.
    ("s", "waiting"), ("sr", "reason 1, 0 requests"),
    ("sc", "reason 3, 0 requests"), ("sd", "destroyed"),
    # Again and again; other domains end meanwhile.
    ("sssr", "reason 1, 0 requests"), ("sooosor", "reason 1, 0 requests"),
    ("soooodoo", "destroyed"),
    # Nothing that was not so before.
    ("r", "reason 1, 0 requests"), ("c", "reason 3, 0 requests"),
    ("d", "destroyed"),
])
def test_monitor_survives_a_suspension(old, tmp_path, events, says):
    """Up to Xen 4.19, xl's own exits."""
    bench = Bench(old, tmp_path)
    result = bench.run("monitor", FAKE_EVENTS=events)
    assert result.status == 0 and result.out == says + "\n", result
    assert bool(result.lines) == events.startswith("s"), result


def test_monitor_is_left_to_newer_xl(tmp_path_factory, tmp_path):
    tools = tmp_path_factory.mktemp("new")
    build_fakes(tools, "libxenlight.so.4.20")
    result = Bench(tools, tmp_path).run("monitor", FAKE_EVENTS="s")
    assert result.out == "suspended, exiting\n" and not result.lines, result
