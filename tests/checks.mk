# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make check-style      clang-format, clang-tidy, cppcheck, check-rooms,
#                       shellcheck, mandoc
# make check-suites     on other releases of Debian; SUITES="trixie"
# make check-sanitize   ASan, UBSan, TSan, valgrind; SANITIZE="asan tsan"
SANITIZE ?= asan tsan valgrind python

CHECK += check-style

.PHONY: check-style check-sanitize check-suites
check-style:
	tests/check-style

check-sanitize:
	tests/check-sanitize $(SANITIZE)

check-suites:
	tests/check-suites $(SUITES)
