# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make check-style      clang-tidy and cppcheck
# make check-sanitize   ASan, UBSan, TSan, valgrind; SANITIZE="asan tsan"
SANITIZE ?= asan tsan valgrind python

.PHONY: check-style check-sanitize
check-style:
	tests/check-style

check-sanitize:
	tests/check-sanitize $(SANITIZE)
