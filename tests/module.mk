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

.PHONY: check-python check-lab vectors
# No Xen needed: the codec, its independent decoder, the commands.
check-python: all
	$(PYTEST) tests/python

# On the embedded Xen host.  TESTS= narrows it, e.g. TESTS="-k pvh".
check-lab: overlay
	$(PYTEST) --durations=10 tests/integration $(TESTS)

vectors:
	cd tests && $(PYTHON) -m streamv3.vectors ../docs/spec/vectors
