# SPDX-License-Identifier: LGPL-2.1-or-later
include tests/unit/module.mk
include tests/demo/module.mk
-include tests/bench/module.mk
-include tests/fuzz/module.mk
