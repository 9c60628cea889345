# SPDX-License-Identifier: LGPL-2.1-or-later
UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT_TESTS := $(UNIT_SRC:tests/unit/%.c=$(B)/tests/unit/%)
UNIT_COMMON := $(B)/tests/unit/synthetic.o

CHECK += check-unit

# The calls that test_faults makes fail; the linker routes them through it.
FAULTS := pwrite pwritev2 pread read fsync fdatasync sync_file_range \
          ftruncate lseek open \
          mmap malloc calloc realloc posix_memalign io_uring_queue_init \
          io_uring_submit pthread_create sysconf ZSTD_createCCtx ZSTD_createDCtx \
          ZSTD_compress2
$(B)/tests/unit/test_faults: LDFLAGS += $(FAULTS:%=-Wl,--wrap=%)

$(B)/tests/unit/test_sparse: LDFLAGS += -Wl,--wrap=pwrite
$(B)/tests/unit/test_rate: LDFLAGS += -Wl,--wrap=clock_gettime
$(B)/tests/unit/test_device: LDFLAGS += -Wl,--wrap=fsync

$(UNIT_TESTS): %: %.o $(UNIT_COMMON) $(LIBRARIES)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(STREAM_LIBS)

.PHONY: check-unit
check-unit: $(UNIT_TESTS)
	@for t in $(UNIT_TESTS); do echo "== $$t"; $$t || exit 1; done
