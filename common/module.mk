# SPDX-License-Identifier: LGPL-2.1-or-later
# Into every program and library, by way of libxensave.a.
COMMON_SRC := $(wildcard common/*.c)
