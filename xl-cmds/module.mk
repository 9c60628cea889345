# SPDX-License-Identifier: LGPL-2.1-or-later
XL_CMDS_SRC := $(wildcard xl-cmds/*.c xl-cmds/transport/*.c)
XL_CMDS_OBJ := $(XL_CMDS_SRC:%.c=$(B)/%.o)
XL_ALIGNED := $(B)/xl-aligned
COMPLETIONDIR ?= $(DATADIR)/bash-completion/completions
UNITDIR ?= $(PREFIX)/lib/systemd/system

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

$(XL_ALIGNED): $(XL_CMDS_OBJ) $(STREAM_A)
	$(SAY) LD $@
	$(Q)$(CC) -pie $(LDFLAGS) -o $@ $^ $(STREAM_LIBS) -lyajl -lssl -lcrypto

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
