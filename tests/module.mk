# SPDX-License-Identifier: LGPL-2.1-or-later
include tests/unit/module.mk
include tests/demo/module.mk
-include tests/bench/module.mk
-include tests/fuzz/module.mk
-include tests/checks.mk

# Nothing is written into the tree by a test.
export PYTHONDONTWRITEBYTECODE := 1
PYTEST := $(PYTHON) -m pytest -p no:cacheprovider -q

CHECK += check-python check-lab

.PHONY: check-python check-lab check-all vectors
# No Xen needed: the codec, its independent decoder, the commands.
check-python: all
	$(PYTEST) tests/python

# On the embedded Xen host.  TESTS= narrows it, e.g. TESTS="-k pvh".
check-lab: overlay
	$(PYTEST) --durations=10 tests/integration \
	    --ignore tests/integration/test_migrate_lab.py \
	    -k "not between_hosts" $(TESTS)

# What takes longer too: two hosts, and stock's own dump-core beside ours.
check-all: check overlay
	XL_ALIGNED_SLOW=1 $(PYTEST) tests/integration

vectors:
	cd tests && $(PYTHON) -m streamv3.vectors ../docs/spec/vectors
