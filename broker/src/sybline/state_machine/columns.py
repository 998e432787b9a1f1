"""Columns of numbers as bytes: little-endian, the same on every machine."""

import sys
from array import array
from typing import Final

KEYS: Final = "Q"  # 8 bytes
NUMBERS: Final = "I"  # 4 bytes


def column_bytes(column: "array[int]") -> bytes:
    """Return a column as bytes."""
    if sys.byteorder == "little":
        return column.tobytes()
    swapped = array(column.typecode, column)
    swapped.byteswap()
    return swapped.tobytes()


def column_from(typecode: str, data: bytes) -> "array[int]":
    """Return the column that `column_bytes` wrote."""
    column = array(typecode)
    column.frombytes(data)
    if sys.byteorder != "little":
        column.byteswap()
    return column
