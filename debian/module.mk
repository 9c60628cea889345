# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make deb        Debian packages, under build/deb/
# make check-deb  and what lintian has to say of them

DEB := $(B)/deb
DEB_TREE := $(DEB)/xl-aligned-$(VERSION)

.PHONY: deb check-deb
# In a copy: what debhelper leaves behind is not for this tree.
deb:
	@debian/check-tools
	$(Q)rm -rf $(DEB)
	$(Q)mkdir -p $(DEB_TREE)
	$(Q)tar --exclude=./build --exclude=./.git --exclude=__pycache__ \
	    --exclude=./.pytest_cache -cf - . | tar -xf - -C $(DEB_TREE)
	$(Q)tar --exclude=debian -czf \
	    $(DEB)/xl-aligned_$(VERSION).orig.tar.gz \
	    -C $(DEB) xl-aligned-$(VERSION)
	$(Q)cd $(DEB_TREE) && env -u MAKEFLAGS -u MAKELEVEL -u DESTDIR \
	    DEB_BUILD_OPTIONS="parallel=2 $(DEB_BUILD_OPTIONS)" \
	    dpkg-buildpackage --build=full --no-sign >../build.log 2>&1 || \
	    { tail -20 ../build.log; exit 1; }
	@ls $(DEB)/*.deb

check-deb: deb
	lintian --allow-root --fail-on=error,warning $(DEB)/*.changes
