# SPDX-License-Identifier: LGPL-2.1-or-later
include tests/unit/module.mk
include tests/fakes/module.mk
include tests/demo/module.mk
include tests/bench/module.mk
include tests/fuzz/module.mk
include tests/powercut/module.mk
include tests/checks.mk

# Nothing is written into the tree by a test.
export PYTHONDONTWRITEBYTECODE := 1
PYTEST := $(PYTHON) -m pytest -q

CHECK += check-python check-lab

# pyproject.toml has the markers.
.PHONY: check-python check-lab check-all vectors
# No Xen needed: model, library, commands, the plugin under a fake libxl.
check-python: all fakes
	$(PYTEST) -m "not lab and not slow"

# On the embedded Xen host.  TESTS= narrows it, e.g. TESTS="-k pvh".
check-lab: overlay
	$(PYTEST) --durations=10 -m "lab and not slow" $(TESTS)

# Everything; with two cores, the rest takes hours: core dumps beside
# stock's, live checkpoints, migration between two hosts, the packages, and
# the lab's tests of itself.  Then the tests of the host on the other versions
# of Xen (tests/lab/versions.py has the default), but for those that have
# their own or depend on none.
OTHER_XENS ?= 4.20 4.14
ONCE := lab libvirt migrate_versions packages powercut versions xendomains

check-all: check
	$(PYTEST) -m slow --ignore=tests/host/test_versions.py
	$(PYTEST) tests/host/test_versions.py
	set -e; for xen in $(OTHER_XENS); do XEN=$$xen $(PYTEST) -m lab \
	    $(ONCE:%=--ignore=tests/host/test_%.py); done

vectors:
	cd tests && $(PYTHON) -m model.vectors ../docs/spec/vectors
