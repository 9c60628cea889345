# SPDX-License-Identifier: LGPL-2.1-or-later
MANDIR ?= $(DATADIR)/man
MAN := $(wildcard docs/man/*.[1-8])

INSTALL += install-man

.PHONY: install-man
install-man: $(MAN)
	for page in $^; do \
	    to=$(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/}; \
	    install -D -m 644 $$page $$to && \
	    sed -i 's,/usr/lib/libxl-aligned\.so,$(LIBDIR)/libxl-aligned.so,' \
	        $$to || exit 1; \
	done
