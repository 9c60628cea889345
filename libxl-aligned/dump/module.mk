# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The dump engine, part of the toolstack-side library.
DUMP_SRC := $(wildcard libxl-aligned/dump/*.c)
DUMP_OBJ := $(DUMP_SRC:%.c=$(B)/%.o)
DUMP_A := $(B)/libxl-aligned-dump.a

$(DUMP_A): $(DUMP_OBJ)
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $^
