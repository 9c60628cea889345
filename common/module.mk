# SPDX-License-Identifier: LGPL-2.1-or-later
# Into every program and library, by way of libstream-v3.a.
COMMON_SRC := $(wildcard common/*.c)
