# SPDX-License-Identifier: LGPL-2.1-or-later
MANDIR ?= $(DATADIR)/man
MAN := $(wildcard docs/man/*.[1-8])

INSTALL += install-man

.PHONY: install-man
install-man: $(MAN)
	for page in $^; do \
	    install -D -m 644 $$page \
	        $(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/} || exit 1; \
	done
