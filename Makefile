# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make            libraries and commands, under build/
# make install    DESTDIR= PREFIX=/usr
# make deps       Debian packages that building and testing need
# make check      every test          make demo       the story, in the lab
# make lab-shell  a shell in dom0     make bench      native benchmarks
# make deb        Debian packages

VERSION := 0.1.0
PREFIX ?= /usr
DESTDIR ?=
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BINDIR ?= $(PREFIX)/bin
SYSCONFDIR ?= /etc
DATADIR ?= $(PREFIX)/share
PYTHON ?= /usr/bin/python3

B := build
# V=1 shows whole commands.
Q := $(if $(V),,@)
SAY := @$(if $(V),:,echo " ")

CC := gcc
OPT ?= -O2 -g
HARDENING ?= -D_FORTIFY_SOURCE=2 -fstack-protector-strong \
             -fstack-clash-protection -fcf-protection
CPPFLAGS += -D_GNU_SOURCE -DXL_ALIGNED_VERSION='"$(VERSION)"' -I. \
            -Istream-v3/include
CFLAGS += $(OPT) $(if $(filter -O0,$(OPT)),,$(HARDENING)) -std=gnu11 -fPIC \
          -Wall -Wextra -Werror -Wmissing-prototypes -Wstrict-prototypes \
          -Wshadow=local -fvisibility=hidden
LDFLAGS += -Wl,-z,relro,-z,now,-z,defs -Wl,--as-needed

.PHONY: all install deps check clean
all:

define ARCHIVE
$(SAY) AR $@
$(Q)rm -f $@
$(Q)$(AR) rcs $@ $^
endef

# What programs and plugins link; each may use those behind it.
LIBRARIES = $(OPERATION_A) $(CORE_A) $(STREAM_A)

# One fragment a folder; each adds to ALL, INSTALL and CHECK.
ALL :=
INSTALL :=
CHECK :=
include common/module.mk
include stream-v3/module.mk
include core/module.mk
include operation/module.mk
include libxl-aligned/module.mk
include xl-cmds/module.mk
include docs/module.mk
include debian/module.mk
include tests/module.mk

all: $(ALL)
install: $(INSTALL)
# The packages come first: without them nothing compiles.
check: deps
	@$(MAKE) $(CHECK)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(SAY) CC $@
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# Not of what is installed below build/: that has directories of such names.
ROOMS := common stream-v3 core operation libxl-aligned xl-cmds tests
-include $(foreach depth,*.d */*.d */*/*.d,$(wildcard $(ROOMS:%=$(B)/%/$(depth))))

deps:
	tests/install-deps

clean:
	rm -rf $(B)
