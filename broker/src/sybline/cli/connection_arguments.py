"""The arguments that say which member to talk to and as whom, for all commands that are clients."""

import argparse
import getpass
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PASSWORD_VARIABLE: Final = "SYB_PASSWORD"  # noqa: S105 - names, not secrets; SYBLINE_… are settings of members
TOKEN_VARIABLE: Final = "SYB_TOKEN"  # noqa: S105
_DEFAULT_SERVER: Final = "localhost:2221"
_FILE_BYTES_MAX: Final = 1 << 20


class NoCredentials(Exception):
    """Nothing says as whom to talk, or a file with it is of no use; the text says what to give."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Contents of PEM files: whom to trust, and what to show, b"" nothing."""

    ca: bytes
    cert: bytes = b""
    key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Access:
    """Where, and as whom. A token is used as it is; a password opens a session for the time of the command."""

    server: str
    user: str
    password: str = field(repr=False)
    token: str = field(repr=False)
    tls: Certificates | None = None  # None: plain text


def add_connection_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    group = parser.add_argument_group("connection")
    group.add_argument(
        "--server",
        default=_DEFAULT_SERVER,
        metavar="HOST:PORT",
        help="gRPC address of any member (default: %(default)s)",
    )
    group.add_argument(
        "--user", default="sybline", metavar="NAME", help="who logs in (default: %(default)s)"
    )
    group.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help=f"file with the password (default: ${PASSWORD_VARIABLE}, or it is asked for)",
    )
    group.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"file with a session token, in place of a password (default: ${TOKEN_VARIABLE})",
    )

    for name, text in (
        ("ca", "PEM file with the CAs of the members' certificates: talk TLS"),
        ("cert", "PEM file with a certificate to show, if members ask for one"),
        ("key", "PEM file with its private key"),
    ):
        group.add_argument(f"--{name}", type=Path, metavar="FILE", help=text)


def load_access(arguments: argparse.Namespace) -> Access:
    """Return what the arguments, the environment or the person at the terminal say.

    Raises:
        NoCredentials: nobody says anything, or the file cannot be read.
    """
    token = _load(arguments.token_file, TOKEN_VARIABLE)
    password = ""
    if not token:
        password = _load(arguments.password_file, PASSWORD_VARIABLE) or _ask(arguments.user)
    return Access(arguments.server, arguments.user, password, token, _load_tls(arguments))


def _load(path: Path | None, variable: str) -> str:
    if path is None:
        return os.environ.get(variable, "")
    try:
        secret = _read(path).decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise NoCredentials(f"{path}: not text") from error
    if not secret:
        raise NoCredentials(f"{path}: empty")
    return secret


def _load_tls(arguments: argparse.Namespace) -> Certificates | None:
    ca, cert, key = arguments.ca, arguments.cert, arguments.key
    if (cert is None) != (key is None) or (cert is not None and ca is None):
        raise NoCredentials("--cert and --key belong together, and to --ca")
    if ca is None:
        return None
    return Certificates(_read(ca), *(b"" if path is None else _read(path) for path in (cert, key)))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise NoCredentials(f"{path}: {error.strerror}") from error
    if len(content) > _FILE_BYTES_MAX:
        raise NoCredentials(f"{path}: larger than {_FILE_BYTES_MAX} bytes")
    return content


def _ask(user: str) -> str:
    if not sys.stdin.isatty():
        raise NoCredentials(
            f"no password for {user}: give --password-file, {PASSWORD_VARIABLE}, "
            f"--token-file or {TOKEN_VARIABLE}"
        )
    return getpass.getpass(f"password of {user}: ")
