"""Compressing the payloads of cold records with zstd; used only where `storage.compress_cold` asks for it.

A member that does not compress still reads what it, or the member it got an image from, has compressed.
"""

from typing import Final

import zstandard

from sybline import limits

LEVEL: Final = 3
PACKED_BYTES_MIN: Final = 256  # a smaller payload has too little in it that repeats
GAIN_MIN: Final = 0.1  # of the payload; less is not worth unpacking it again and again


class Packer:
    """Compresses payloads; for one thread."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)

    def pack(self, payload: bytes) -> bytes | None:
        """Return the payload compressed, or None when that is not worth it."""
        if len(payload) < PACKED_BYTES_MIN:
            return None
        packed = self._compressor.compress(payload)
        return packed if len(packed) <= len(payload) * (1 - GAIN_MIN) else None


def unpack(packed: bytes) -> bytes | None:
    """Return what was packed, or None when it is not what `pack` returned."""
    try:
        size = zstandard.frame_content_size(packed)
        if not 0 <= size <= limits.ENTRY_BYTES_MAX:
            return None
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)
    except zstandard.ZstdError:
        return None
