# SPDX-License-Identifier: LGPL-2.1-or-later
CORE_SRC := $(wildcard core/*.c)
CORE_A := $(B)/core.a

$(CORE_A): $(CORE_SRC:%.c=$(B)/%.o)
	$(ARCHIVE)
