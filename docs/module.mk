# SPDX-License-Identifier: LGPL-2.1-or-later
MANDIR ?= $(DATADIR)/man
MAN_8 := $(wildcard docs/man/*.8)

INSTALL += install-man

.PHONY: install-man
install-man: $(MAN_8)
	install -d $(DESTDIR)$(MANDIR)/man8
	install -m 644 $^ $(DESTDIR)$(MANDIR)/man8/
