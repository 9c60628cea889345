# SPDX-License-Identifier: LGPL-2.1-or-later
OPERATION_SRC := $(wildcard operation/*.c)
OPERATION_A := $(B)/operation.a

$(OPERATION_A): $(OPERATION_SRC:%.c=$(B)/%.o)
	$(ARCHIVE)
