"""Small files that are replaced as a whole: one line of JSON with a checksum, readable by people."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from zlib import crc32

from sybline.replication.files import Files, replace_file
from sybline.replication.storage_errors import CorruptData

FORMAT_VERSION = 1
SMALL_FILE_BYTES_MAX = 64 * 1024
Fields = Mapping[str, int | str]


def _checksum(fields: Fields) -> int:
    return crc32(json.dumps(dict(sorted(fields.items()))).encode())


def save_fields(files: Files, path: Path, fields: Fields) -> None:
    """Replace the file durably."""
    whole: Fields = {"format": FORMAT_VERSION, **fields}
    line = json.dumps({**whole, "crc32": _checksum(whole)}) + "\n"
    replace_file(files, path, [line.encode()])


def load_fields(files: Files, path: Path) -> dict[str, int | str]:
    """Read the file back.

    Raises:
        CorruptData: damaged, or of a newer format.
    """
    with contextlib.closing(files.open(path)) as file:
        data = file.read_at(0, SMALL_FILE_BYTES_MAX)
    try:
        fields = json.loads(data.decode())
        crc = fields.pop("crc32")
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise CorruptData(path, 0, f"unreadable ({error})") from error
    if crc != _checksum(fields) or not all(isinstance(v, int | str) for v in fields.values()):
        raise CorruptData(path, 0, "the checksum does not match")
    if fields["format"] != FORMAT_VERSION:
        raise CorruptData(
            path, 0, f"format version {fields['format']}, this program knows {FORMAT_VERSION}",
            "Start it with the version of Sybline that wrote it, or a newer one.",
        )  # fmt: skip
    return dict(fields)
