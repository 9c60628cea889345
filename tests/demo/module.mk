# SPDX-License-Identifier: LGPL-2.1-or-later
LAB_TOOLS := $(B)/lab-tools/usr/libexec/lab/sample \
             $(B)/lab-tools/usr/libexec/lab/neighbour

# Static: they run in dom0 of the lab, next to whatever libraries it has.
$(B)/lab-tools/usr/libexec/lab/%: tests/demo/%.c
	@mkdir -p $(@D)
	$(SAY) CC $@
	$(Q)$(CC) -O2 -Wall -Wextra -Werror -std=gnu11 -D_GNU_SOURCE -static \
	    -o $@ $<

# The Xen that the lab boots: XEN=4.14|4.17|4.20 (tests/lab/versions.py).
ifdef XEN
export XEN
endif

.PHONY: overlay demo pressure lab-shell
# What `make install` would put on a Xen host, for dom0 of the lab.
overlay: all $(LAB_TOOLS)
	$(SAY) INSTALL $(B)/overlay
	@rm -rf $(B)/overlay
	@$(MAKE) -s install DESTDIR=$(CURDIR)/$(B)/overlay PREFIX=/usr >/dev/null

demo: deps
	@$(MAKE) -s overlay
	$(Q)cd tests && $(PYTHON) -m demo.demo

pressure: overlay
	$(Q)cd tests && $(PYTHON) -m demo.pressure

lab-shell: overlay
	$(Q)cd tests && $(PYTHON) -m lab.shell
