# SPDX-License-Identifier: LGPL-2.1-or-later
XL_CMDS_SRC := $(wildcard xl-cmds/*.c xl-cmds/*/*.c xl-cmds/*/*/*.c)
XL_CMDS_OBJ := $(XL_CMDS_SRC:%.c=$(B)/%.o)
XL_ALIGNED := $(B)/xl-aligned
COMPLETIONDIR ?= $(DATADIR)/bash-completion/completions
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
# Those that save domains; they are others', and may be absent.
SAVING_SERVICES := xendomains libvirtd virtxend

ALL += $(XL_ALIGNED)
INSTALL += install-xl-cmds

PLUGIN_PATH := $(LIBDIR)/libxl-aligned.so.0

# `make` and a later `make install PREFIX=...` must not disagree.
.PHONY: FORCE
$(B)/xl-cmds/plugin-path: FORCE
	@mkdir -p $(@D)
	@echo '$(PLUGIN_PATH)' | cmp -s - $@ || echo '$(PLUGIN_PATH)' >$@

$(B)/xl-cmds/plugin.o: CPPFLAGS += \
    -DXL_ALIGNED_PLUGIN_PATH='"$(PLUGIN_PATH)"'
$(B)/xl-cmds/plugin.o: $(B)/xl-cmds/plugin-path

XL_ALIGNED_LIBS = $(STREAM_LIBS) -lyajl -lseccomp -lssl -lcrypto
$(XL_ALIGNED): $(XL_CMDS_OBJ) $(LIBRARIES)
	$(SAY) LD $@
	$(Q)$(CC) -pie $(LDFLAGS) -o $@ $^ $(XL_ALIGNED_LIBS)

# For tests that link it with a part of their own.
.PHONY: print-libraries
print-libraries:
	@echo $(LIBRARIES:%=$(CURDIR)/%) $(XL_ALIGNED_LIBS)

.PHONY: install-xl-cmds
install-xl-cmds: $(XL_ALIGNED)
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(COMPLETIONDIR)
	install -m 755 $(XL_ALIGNED) $(DESTDIR)$(BINDIR)/
	install -m 644 xl-cmds/completion/xl-aligned \
	    $(DESTDIR)$(COMPLETIONDIR)/
	install -d $(DESTDIR)$(UNITDIR)
	install -m 644 xl-cmds/systemd/xl-aligned-listen.socket \
	    $(DESTDIR)$(UNITDIR)/
	sed 's,@BINDIR@,$(BINDIR),' \
	    xl-cmds/systemd/xl-aligned-listen.service \
	    >$(DESTDIR)$(UNITDIR)/xl-aligned-listen.service
	install -d $(DESTDIR)$(SYSUSERSDIR)
	install -m 644 xl-cmds/systemd/sysusers.conf \
	    $(DESTDIR)$(SYSUSERSDIR)/xl-aligned.conf
	for service in $(SAVING_SERVICES); do \
	    install -d $(DESTDIR)$(UNITDIR)/$$service.service.d && \
	    sed 's,@SYSCONFDIR@,$(SYSCONFDIR),' \
	        xl-cmds/systemd/xl-aligned.conf \
	        >$(DESTDIR)$(UNITDIR)/$$service.service.d/xl-aligned.conf || \
	    exit 1; \
	done
	install -d $(DESTDIR)$(SYSCONFDIR)/default
	test -e $(DESTDIR)$(SYSCONFDIR)/default/xl-aligned || \
	    sed 's,@LIBDIR@,$(LIBDIR),' xl-cmds/systemd/services.default \
	    >$(DESTDIR)$(SYSCONFDIR)/default/xl-aligned
