# SPDX-License-Identifier: LGPL-2.1-or-later
ALIGNED_SRC := $(wildcard libxl-aligned/*.c libxl-aligned/dump/*.c)
ALIGNED_OBJ := $(ALIGNED_SRC:%.c=$(B)/%.o)
ALIGNED_SO := $(B)/libxl-aligned.so.0
ALIGNED_HELPER_SRC := $(wildcard libxl-aligned/helper/*.c) \
                      libxl-aligned/report.c
ALIGNED_HELPER_OBJ := $(ALIGNED_HELPER_SRC:%.c=$(B)/%.o)
ALIGNED_HELPER_SO := $(B)/libxl-aligned-stream.so
# Where the toolstack side looks for the helper side: beside itself, here.
ALIGNED_HELPER_DIR := $(LIBDIR)/xl-aligned
# Nothing of the static library shows: what is preloaded must not stand in
# front of symbols that are not meant.
ALIGNED_LDFLAGS := -shared -Wl,--exclude-libs,ALL $(LDFLAGS)

ALL += $(ALIGNED_SO) $(ALIGNED_HELPER_SO) $(B)/libxl-aligned.pc
INSTALL += install-libxl-aligned

# Neither is linked with a library of Xen's: their names change with every
# release, and the program that is preloaded has them.
$(ALIGNED_SO): $(ALIGNED_OBJ) $(LIBRARIES)
	$(SAY) LD $@
	$(Q)$(CC) $(ALIGNED_LDFLAGS) -Wl,-soname,$(@F) -o $@ $^ \
	    $(STREAM_LIBS) -lyajl
	$(Q)ln -sf $(@F) $(B)/libxl-aligned.so

$(ALIGNED_HELPER_SO): $(ALIGNED_HELPER_OBJ) $(LIBRARIES)
	$(SAY) LD $@
	$(Q)$(CC) $(ALIGNED_LDFLAGS) -o $@ $^ $(STREAM_LIBS)

$(B)/libxl-aligned.pc: libxl-aligned/libxl-aligned.pc.in Makefile
	@mkdir -p $(@D)
	$(Q)sed -e 's,@PREFIX@,$(PREFIX),' -e 's,@LIBDIR@,$(LIBDIR),' \
	    -e 's,@INCLUDEDIR@,$(INCLUDEDIR),' -e 's,@VERSION@,$(VERSION),' \
	    $< > $@

.PHONY: install-libxl-aligned
install-libxl-aligned: $(ALIGNED_SO) $(ALIGNED_HELPER_SO) \
                       $(B)/libxl-aligned.pc
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR) \
	    $(DESTDIR)$(ALIGNED_HELPER_DIR) $(DESTDIR)$(SYSCONFDIR)/xen
	install -m 644 $(ALIGNED_SO) $(DESTDIR)$(LIBDIR)/
	ln -sf $(notdir $(ALIGNED_SO)) $(DESTDIR)$(LIBDIR)/libxl-aligned.so
	install -m 644 $(ALIGNED_HELPER_SO) $(DESTDIR)$(ALIGNED_HELPER_DIR)/
	install -m 644 libxl-aligned/libxl-aligned.h $(DESTDIR)$(INCLUDEDIR)/
	install -m 644 $(B)/libxl-aligned.pc $(DESTDIR)$(LIBDIR)/pkgconfig/
	test -e $(DESTDIR)$(SYSCONFDIR)/xen/xl-aligned.conf || \
	    install -m 644 docs/xl-aligned.conf.example \
	    $(DESTDIR)$(SYSCONFDIR)/xen/xl-aligned.conf
