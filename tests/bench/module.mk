# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make bench          SIZE=1G ROUNDS=5 DIR=build/bench/disk DATA=… ROWS=…
# make bench-scale    SIZES=1G,4G,16G ROUNDS=3
BENCH_B := $(B)/tests/bench
BENCH_PROGRAMS := $(BENCH_B)/save_load $(BENCH_B)/restore_load \
                  $(BENCH_B)/copy_direct
SIZE ?= 1G
SIZES ?= 1G,4G,16G
BENCH_ARGUMENTS = $(if $(ROUNDS),--rounds $(ROUNDS)) \
                  $(if $(DIR),--directory $(DIR)) \
                  $(if $(DATA),--data $(DATA)) $(if $(ROWS),--rows $(ROWS)) \
                  $(if $(CAPTURE),--capture $(CAPTURE))

# The real libxenctrl: its private functions are what the helper calls.
$(BENCH_PROGRAMS): %: %.o $(BENCH_B)/load.o $(STREAM_A)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lxenctrl $(STREAM_LIBS)

$(BENCH_B)/frames: $(BENCH_B)/frames.o $(STREAM_A)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(STREAM_LIBS)

.PHONY: bench bench-scale bench-programs
bench-programs: $(BENCH_PROGRAMS) $(BENCH_B)/frames $(ALIGNED_HELPER_SO)

bench: bench-programs
	$(PYTHON) tests/bench/bench.py --size $(SIZE) $(BENCH_ARGUMENTS)

bench-scale: bench-programs
	$(PYTHON) tests/bench/bench.py --scale $(SIZES) $(BENCH_ARGUMENTS)
