# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make fuzz           every target, FUZZ_SECONDS=10 each; in make check, too
#                     FUZZ_TARGETS="decoder encoder"  FUZZ_VARIANT=plain
# make fuzz-coverage  what the corpus reaches, per file
# make fuzz-differential  the C decoder beside the Python one
#
# fuzz_NAME.c is a target.  What it needs besides the library goes into
# FUZZ_OBJ_NAME and FUZZ_LIBS_NAME; seeds.py makes its first corpus.
FUZZ_CC ?= clang-14
FUZZ_LLVM ?= 14
FUZZ_SECONDS ?= 10
CHECK += fuzz
FUZZ_VARIANT ?= asan
FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_TARGETS ?= $(FUZZ_NAMES)
FUZZ_CORPUS ?= $(B)/fuzz/corpus

# asan finds, plain runs three times as often, coverage counts.
FUZZ_FLAGS_asan := -fsanitize=fuzzer-no-link,address,undefined \
                   -fno-sanitize-recover=all
FUZZ_LINK_asan := -fsanitize=fuzzer,address,undefined
FUZZ_FLAGS_plain := -fsanitize=fuzzer-no-link
FUZZ_LINK_plain := -fsanitize=fuzzer
FUZZ_FLAGS_coverage := -fsanitize=fuzzer-no-link -fprofile-instr-generate \
                       -fcoverage-mapping
FUZZ_LINK_coverage := -fsanitize=fuzzer -fprofile-instr-generate
FUZZ_VARIANTS := asan plain coverage

FUZZ_CFLAGS := -O2 -g -std=gnu11 -Wall -Wextra -Werror \
               -Wmissing-prototypes -Wstrict-prototypes
comma := ,
FUZZ_CPPFLAGS := $(CPPFLAGS) -Ixl-cmds -Ilibxl-aligned

FUZZ_COMMON := $(patsubst %,tests/fuzz/%.o,common codec seal mutate file \
                                           staging)
# What these ask of a file is answered by memory.c, without a system call.
FUZZ_MEMORY := $(patsubst %,-Wl$(comma)--wrap=%,fd_reopen \
    xensave_direct_alignment xensave_file_size fd_name xensave_resident pread_exact \
    xensave_source_open_file posix_fadvise)
FUZZ_FILE := tests/fuzz/file_mutator.o
FUZZ_OBJ_savefile := $(FUZZ_FILE)
FUZZ_OBJ_index := $(FUZZ_FILE) tests/fuzz/memory.o
FUZZ_LIBS_index := $(FUZZ_MEMORY)
FUZZ_OBJ_core := $(FUZZ_FILE) tests/fuzz/memory.o
FUZZ_LIBS_core := $(FUZZ_MEMORY) -Wl,--wrap=core_share
FUZZ_OBJ_walk := $(FUZZ_FILE) xl-cmds/head.o \
                 xl-cmds/tail.o xl-cmds/memory.o xl-cmds/savefile.o \
                 operation/domain_config.o
FUZZ_LIBS_walk := -lyajl
FUZZ_OBJ_domain_config := operation/domain_config.o
FUZZ_LIBS_domain_config := -lyajl
FUZZ_OBJ_commands := $(FUZZ_FILE) $(XL_CMDS_SRC:%.c=%.o)
FUZZ_LIBS_commands := -lyajl -lseccomp -lssl -lcrypto
FUZZ_LIBS_settings := -Wl,--no-as-needed -lxlutil

define fuzz_variant
$$(B)/fuzz/$(1)/%.o: %.c
	@mkdir -p $$(@D)
	$$(SAY) CC $$@
	$$(Q)$$(FUZZ_CC) $$(FUZZ_CPPFLAGS) $$(FUZZ_CFLAGS) \
	    $$(FUZZ_FLAGS_$(1)) -MMD -MP -c -o $$@ $$<

# libFuzzer brings the one main().
$$(B)/fuzz/$(1)/xl-cmds/main.o: FUZZ_CPPFLAGS += -Dmain=xl_aligned_main
$$(B)/fuzz/$(1)/xl-cmds/main.o: FUZZ_CFLAGS += -Wno-missing-prototypes
$$(B)/fuzz/$(1)/xl-cmds/plugin.o: FUZZ_CPPFLAGS += \
    -DXL_ALIGNED_PLUGIN_PATH='"$$(PLUGIN_PATH)"'

$$(B)/fuzz/$(1)/libxensave.a: $$(patsubst %.c,$$(B)/fuzz/$(1)/%.o,\
    $$(STREAM_SRC) $$(CORE_SRC) $$(OPERATION_SRC))
	$$(Q)rm -f $$@
	$$(Q)$$(AR) rcs $$@ $$^
endef

define fuzz_target
$$(B)/fuzz/$(1)/fuzz_$(2): $$(B)/fuzz/$(1)/tests/fuzz/fuzz_$(2).o \
    $$(FUZZ_COMMON:%=$$(B)/fuzz/$(1)/%) \
    $$(FUZZ_OBJ_$(2):%=$$(B)/fuzz/$(1)/%) $$(B)/fuzz/$(1)/libxensave.a
	$$(SAY) LD $$@
	$$(Q)$$(FUZZ_CC) $$(FUZZ_LINK_$(1)) -Wl,--wrap=malloc -Wl,--wrap=free \
	    -Wl,--wrap=posix_memalign \
	    -o $$@ $$^ $$(STREAM_LIBS) $$(FUZZ_LIBS_$(2))
endef

$(foreach v,$(FUZZ_VARIANTS),$(eval $(call fuzz_variant,$(v))) \
    $(foreach n,$(FUZZ_NAMES),$(eval $(call fuzz_target,$(v),$(n)))))

-include $(wildcard $(B)/fuzz/*/*/*.d $(B)/fuzz/*/*/*/*.d \
    $(B)/fuzz/*/*/*/*/*.d)

FUZZ_SEEDS := $(B)/tests/fuzz/seeds
$(FUZZ_SEEDS): $(B)/tests/fuzz/seeds.o $(UNIT_COMMON) $(LIBRARIES)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(STREAM_LIBS)

$(B)/tests/fuzz/seeds.o: CPPFLAGS += -Itests/unit

$(FUZZ_CORPUS)/.seeded: tests/fuzz/seeds.py $(FUZZ_SEEDS)
	$(SAY) SEED $(@D)
	$(Q)PYTHONPATH=tests $(PYTHON) -m fuzz.seeds $(FUZZ_SEEDS) $(@D)
	$(Q)touch $@

.PHONY: fuzz fuzz-programs fuzz-coverage fuzz-differential
fuzz-differential: $(STREAM_SO) $(FUZZ_CORPUS)/.seeded
	PYTHONPATH=tests $(PYTHON) -m fuzz.differential --seconds $(FUZZ_SECONDS) \
	    --corpus $(FUZZ_CORPUS)/decoder

fuzz-programs: $(FUZZ_TARGETS:%=$(B)/fuzz/$(FUZZ_VARIANT)/fuzz_%) \
               $(FUZZ_CORPUS)/.seeded

fuzz: fuzz-programs
	$(PYTHON) tests/fuzz/run.py --variant $(FUZZ_VARIANT) \
	    --seconds $(FUZZ_SECONDS) --corpus $(FUZZ_CORPUS) $(FUZZ_TARGETS)

fuzz-coverage: $(FUZZ_TARGETS:%=$(B)/fuzz/coverage/fuzz_%) \
               $(FUZZ_CORPUS)/.seeded
	$(PYTHON) tests/fuzz/coverage.py --llvm $(FUZZ_LLVM) \
	    --corpus $(FUZZ_CORPUS) $(FUZZ_TARGETS)
