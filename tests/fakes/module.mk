# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make fakes   what tests put in the place of Xen's libraries and programs
#              FAKES_DIR=… FAKES_SONAME=libxenlight.so.4.19 FAKES_FLAGS=-D…
FAKES_DIR ?= $(B)/fakes
# The name of libxen-dev's: its headers shape the fake, too.
FAKES_SONAME ?= libxenlight.so.$(basename $(shell pkg-config \
    --modversion xenlight))
FAKES := $(addprefix $(FAKES_DIR)/,libxenstore.so.4 $(FAKES_SONAME) \
    toolstack toolstack-api libtoolstack-module.so daemon helper faults.so \
    memcheck dumper shares.so intruder.so)
FAKES_CC = $(CC) -std=gnu11 -D_GNU_SOURCE -g -O1 -Wall -Wextra -Werror -I. \
           -Istream-v3/include -Ilibxl-aligned -o $@
# They find each other wherever the directory is copied to.
FAKES_LINK := -Wl,--no-as-needed -Wl,-rpath,'$$ORIGIN' -pthread

.PHONY: fakes
fakes: $(FAKES)

$(FAKES): tests/fakes/fake.h | $(FAKES_DIR)
$(FAKES_DIR):
	@mkdir -p $@

$(FAKES_DIR)/%.so: tests/fakes/%.c
	$(Q)$(FAKES_CC) -shared -fPIC $<

$(FAKES_DIR)/libxenstore.so.4: tests/fakes/libxenstore.c
	$(Q)$(FAKES_CC) -shared -fPIC -Wl,-soname,$(@F) $<

# As the real one does, it brings libxenstore into the program.  libxlutil
# asks for symbols of the real one's version, if they have one.
$(FAKES_DIR)/$(FAKES_SONAME): tests/fakes/libxenlight.c \
    $(FAKES_DIR)/libxenstore.so.4
	$(Q)objdump -p "$$($(CC) -print-file-name=libxenlight.so)" | \
	    sed -n 's/^2 0x00 0x[0-9a-f]* //p' >$(@D)/libxenlight.map
	$(Q)echo '{ global: libxl_*; fake_*; xc_domain_resume; local: *; };' \
	    >>$(@D)/libxenlight.map
	$(Q)$(FAKES_CC) -shared -fPIC -Wl,-soname,$(@F) \
	    -Wl,--version-script=$(@D)/libxenlight.map $(FAKES_FLAGS) \
	    $< $(FAKES_LINK) $(FAKES_DIR)/libxenstore.so.4

FAKES_LIBXL = $(FAKES_LINK) $(FAKES_DIR)/$(FAKES_SONAME)
$(FAKES_DIR)/toolstack: tests/fakes/toolstack.c $(FAKES_DIR)/$(FAKES_SONAME)
	$(Q)$(FAKES_CC) $< $(FAKES_LIBXL)

# Linked with the plugin.
$(FAKES_DIR)/toolstack-api: tests/fakes/toolstack.c $(ALIGNED_SO) \
    $(FAKES_DIR)/$(FAKES_SONAME)
	$(Q)$(FAKES_CC) -DAPI $< -Wl,--no-as-needed $(ALIGNED_SO) \
	    -Wl,-rpath,$(CURDIR)/$(B) $(FAKES_LIBXL)

# The same as a module, and what loads it.
$(FAKES_DIR)/libtoolstack-module.so: tests/fakes/toolstack.c \
    $(FAKES_DIR)/$(FAKES_SONAME)
	$(Q)$(FAKES_CC) -shared -fPIC -Dmain=toolstack_main $< $(FAKES_LIBXL)

$(FAKES_DIR)/daemon: tests/fakes/daemon.c
	$(Q)$(FAKES_CC) $< -pthread

$(FAKES_DIR)/helper: tests/fakes/save_helper.c
	$(Q)$(FAKES_CC) $< -lxenctrl

$(FAKES_DIR)/memcheck: tests/fakes/memcheck.c
	$(Q)$(FAKES_CC) -static $<

# The dump engine over a domain that is a file: Xen's libraries as one.
$(FAKES_DIR)/libfake.so: tests/fakes/core_fake_xen.c | $(FAKES_DIR)
	$(Q)$(FAKES_CC) -shared -fPIC -Wl,-soname,$(@F) -Dmain=fake_main \
	    $(FAKES_FLAGS) $<

$(FAKES_DIR)/dumper: $(FAKES_DIR)/libfake.so
	$(Q)echo 'int fake_main(int c, char **v);' \
	    'int main(int c, char **v) { return fake_main(c, v); }' | \
	    $(FAKES_CC) -x c - -x none $(FAKES_LINK) $<

$(FAKES_DIR)/shares.so: tests/fakes/core_shares.c common/fd.c
	$(Q)$(FAKES_CC) -shared -fPIC $^
