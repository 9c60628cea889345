# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes tests/streamv3 importable from wherever pytest is started."""
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))
