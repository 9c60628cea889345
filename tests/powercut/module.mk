# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make powercut   power cuts during saves, ours and stock's; takes an hour
#                 POWERCUT="--cuts 20 record cuts" takes some minutes
.PHONY: powercut
powercut: all
	cd tests && $(PYTHON) -m powercut $(POWERCUT)
