"""The generated password of the first administrator: drawn once, kept in a file that only its owner can read.

Edge for that file. When it is needed, and what else may give the password, is decided by the composition root.
"""

import contextlib
import errno
import os
import secrets
from pathlib import Path
from typing import Final

from sybline import limits

_PASSWORD_RANDOM_BYTES: Final = 24  # 32 characters that need no quoting anywhere
_TEMPORARY_RANDOM_BYTES: Final = 8
_OWNER_ONLY: Final = 0o600


def load_or_create_password_file(path: Path) -> str:
    """Return the password in a file; if there is none, put a random one there first, readable by its owner only.

    Members that start at once with the same file agree on one password, and a crash leaves no half-written file.

    Raises:
        OSError: it cannot be read or created, or holds no password; names the file.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _create(path, secrets.token_urlsafe(_PASSWORD_RANDOM_BYTES))
    return _read(path)


def _create(path: Path, password: str) -> None:
    """Write aside, then link: the name appears with its content or not at all, and the first one stays."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(_TEMPORARY_RANDOM_BYTES)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(password.encode() + b"\n")
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(aside)
    finally:
        aside.unlink()
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(limits.PASSWORD_BYTES_MAX + 3)  # a line break, and a sign that it is longer
    try:
        password = raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        password = ""
    if not 1 <= len(password.encode()) <= limits.PASSWORD_BYTES_MAX:
        allowed = f"does not hold a password of 1 to {limits.PASSWORD_BYTES_MAX} bytes of UTF-8"
        raise OSError(errno.EINVAL, allowed, str(path))
    return password
