# SPDX-License-Identifier: LGPL-2.1-or-later
STREAM_SRC := $(COMMON_SRC) $(wildcard stream-v3/*.c stream-v3/*/*.c)
STREAM_OBJ := $(STREAM_SRC:%.c=$(B)/%.o)
# -ldl: a C library before glibc 2.34.
STREAM_LIBS := -luring -lxxhash -lzstd -llz4 -pthread -ldl
STREAM_A := $(B)/libxensave.a
STREAM_SO := $(B)/libxensave.so.0

ALL += $(STREAM_A) $(STREAM_SO) $(B)/xensave.pc
INSTALL += install-stream-v3

$(STREAM_A): $(STREAM_OBJ)
	$(ARCHIVE)

$(STREAM_SO): $(STREAM_OBJ) stream-v3/libxensave.map
	$(SAY) LD $@
	$(Q)$(CC) -shared -Wl,-soname,$(@F) \
	    -Wl,--version-script=stream-v3/libxensave.map $(LDFLAGS) -o $@ \
	    $(STREAM_OBJ) $(STREAM_LIBS)
	$(Q)ln -sf $(@F) $(B)/libxensave.so

$(B)/xensave.pc: stream-v3/xensave.pc.in Makefile
	@mkdir -p $(@D)
	$(Q)sed -e 's,@PREFIX@,$(PREFIX),' -e 's,@LIBDIR@,$(LIBDIR),' \
	    -e 's,@INCLUDEDIR@,$(INCLUDEDIR),' -e 's,@VERSION@,$(VERSION),' \
	    $< > $@

.PHONY: install-stream-v3
install-stream-v3: $(STREAM_A) $(STREAM_SO) $(B)/xensave.pc
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)
	install -m 644 $(STREAM_A) $(STREAM_SO) $(DESTDIR)$(LIBDIR)/
	ln -sf $(notdir $(STREAM_SO)) $(DESTDIR)$(LIBDIR)/libxensave.so
	install -m 644 $(wildcard stream-v3/include/*.h) \
	    $(DESTDIR)$(INCLUDEDIR)/
	install -m 644 $(B)/xensave.pc $(DESTDIR)$(LIBDIR)/pkgconfig/
