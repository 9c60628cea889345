# SPDX-License-Identifier: LGPL-2.1-or-later
UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT_TESTS := $(UNIT_SRC:tests/unit/%.c=$(B)/tests/unit/%)
UNIT_COMMON := $(B)/tests/unit/synthetic.o

CHECK += check-unit

$(UNIT_TESTS): %: %.o $(UNIT_COMMON) $(STREAM_A)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(STREAM_LIBS)

.PHONY: check-unit
check-unit: $(UNIT_TESTS)
	@for t in $(UNIT_TESTS); do echo "== $$t"; $$t || exit 1; done
