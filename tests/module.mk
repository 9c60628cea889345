# SPDX-License-Identifier: LGPL-2.1-or-later
include tests/unit/module.mk
include tests/demo/module.mk
include tests/bench/module.mk
include tests/fuzz/module.mk
include tests/powercut/module.mk
include tests/checks.mk

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
	$(PYTEST) --durations=10 tests/integration/test_plugin_api.py \
	    tests/integration/test_libvirt_plugin.py \
	    tests/integration/test_memcheck_plugin.py \
	    tests/integration/test_room_plugin.py \
	    tests/integration/test_versions_plugin.py \
	    tests/integration/test_processes_plugin.py \
	    tests/integration/test_durable_plugin.py \
	    tests/integration/test_negotiated_plugin.py \
	    tests/integration/test_compress_plugin.py \
	    tests/integration/test_plugin_lab.py $(TESTS)

# Everything that runs on the embedded host; with two cores, take hours:
# core dumps beside stock's, live checkpoints, migration between two hosts,
# the packages, and the lab's tests of itself.
check-all: check
	XL_ALIGNED_SLOW=1 $(PYTEST) tests/python/test_listen_soak.py \
	    tests/integration

vectors:
	cd tests && $(PYTHON) -m streamv3.vectors ../docs/spec/vectors
