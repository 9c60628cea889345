# SPDX-License-Identifier: LGPL-2.1-or-later
"""XXH3, 64 bits of output, seed 0, default secret: libxxhash by ctypes."""
import ctypes

_lib = ctypes.CDLL("libxxhash.so.0")
_lib.XXH3_64bits.restype = ctypes.c_uint64
_lib.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
_lib.XXH3_createState.restype = ctypes.c_void_p
_lib.XXH3_createState.argtypes = []
_lib.XXH3_freeState.argtypes = [ctypes.c_void_p]
_lib.XXH3_64bits_reset.argtypes = [ctypes.c_void_p]
_lib.XXH3_64bits_update.argtypes = [
    ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
_lib.XXH3_64bits_digest.restype = ctypes.c_uint64
_lib.XXH3_64bits_digest.argtypes = [ctypes.c_void_p]


def xxh3(data) -> int:
    """The checksum of one buffer."""
    data = bytes(data)
    return _lib.XXH3_64bits(data, len(data))


class Hash:
    """The checksum of a concatenation."""

    def __init__(self) -> None:
        self._state = None
        self._state = _lib.XXH3_createState()
        if not self._state:
            raise MemoryError("XXH3_createState")
        _lib.XXH3_64bits_reset(self._state)

    def update(self, data) -> None:
        data = bytes(data)
        _lib.XXH3_64bits_update(self._state, data, len(data))

    def digest(self) -> int:
        return _lib.XXH3_64bits_digest(self._state)

    def __del__(self) -> None:
        if self._state:
            _lib.XXH3_freeState(self._state)
