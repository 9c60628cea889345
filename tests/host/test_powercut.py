# SPDX-License-Identifier: LGPL-2.1-or-later
"""Power cuts during saves, in short; `make powercut` makes many more."""
import os

import pytest

from powercut import cuts, record, restore

pytestmark = pytest.mark.slow

OURS = record.Scenario("pvh", "xl-aligned")
CONTROL = record.Scenario("pv", "without fsync")
CUTS = int(os.environ.get("XL_ALIGNED_CUTS", "30"))


def test_power_cuts(build_overlay, tmp_path):
    directory = str(tmp_path)
    record.record(directory, build_overlay, (OURS, CONTROL))
    results = cuts.run_all(directory, CUTS, seed="test")

    ours = results[OURS]
    assert not [(o, cuts.fault(OURS, o)) for o in ours
                if cuts.fault(OURS, o)]
    assert {o.final for o in ours} == {"old", "new"}
    assert max(o.loose for o in ours) > 0
    gone = [o for o in ours if o.cut.destroyed]
    assert gone and all(o.final == "new" for o in gone)

    # Where nothing is flushed, cuts find it: this test can fail.
    control = [o for o in results[CONTROL] if o.cut.destroyed]
    assert any(o.final != "new" for o in control)

    # One of each is really restored, by a host of its own.
    chosen = restore.choose({OURS: ours}, 2, "test")
    for one in restore.restore_all(directory, build_overlay, "test", chosen):
        assert one.ok, one
