"""The words of every error a client sees, and the one function that builds them (wire contract §4.2).

Owns the two texts old clients act on, and the rule that nothing else contains them: not a queue of that name, not a
text that came from a peer. Whatever a caller typed enters a text only through `quote`. Pure: no gRPC here.
"""

import unicodedata
from collections.abc import Mapping
from typing import Final

from sybline import limits

NO_SESSION_TEXT: Final = "no valid auth token provided"
NO_LEADER_TEXT: Final = "cannot communicate with non-leader nodes"
RESERVED_TEXTS: Final = (
    NO_SESSION_TEXT,
    NO_LEADER_TEXT,
    "error reading from server: EOF",
    "transport: Error while dialing dial tcp",
)
WITHHELD: Final = "<name withheld>"
_WITHHELD_TEXT: Final = "the request was refused"
_CUT: Final = "…"
_NOT_ONE_LINE: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format, surrogates, line ends


class Word(str):
    """A word of ours, or one made of harmless characters: it enters a text as it stands."""

    __slots__ = ()


class CallError(Exception):
    """A call that fails with a known status. Built by `refuse`, so that its text keeps the rules."""

    def __init__(self, code: str, text: str, reason: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code  # name of the gRPC code
        self.text = text
        self.reason = reason  # of google.rpc.ErrorInfo
        self.retry_after_s: float | None = None  # of google.rpc.RetryInfo; None: no retry helps
        self.field = ""  # of google.rpc.BadRequest
        self.facts: Mapping[str, str] = {}  # metadata of ErrorInfo


def refuse(
    code: str,
    template: str,
    *values: str | int,
    reason: str,
    retry_after_s: float | None = None,
    field: str = "",
    facts: Mapping[str, str | int] | None = None,
) -> CallError:
    """Return the error of a status, its text built by `build_text`; `facts` are for programs."""
    error = CallError(code, build_text(template, *values), reason)
    error.retry_after_s = retry_after_s
    error.field = field
    error.facts = {key: escape(str(value)) for key, value in (facts or {}).items()}
    return error


def no_session() -> CallError:
    """Return the error of a missing, unknown, expired or revoked token: old clients log in again."""
    return CallError("UNAUTHENTICATED", NO_SESSION_TEXT, "UNAUTHENTICATED")


def no_leader() -> CallError:
    """Return the error of a member that reaches no leader (C-2): old clients search one."""
    error = CallError("UNAVAILABLE", NO_LEADER_TEXT, "NO_LEADER")
    error.retry_after_s = 1.0
    return error


def build_text(template: str, *values: str | int) -> str:
    """Return an error text: one line of valid UTF-8, at most ERROR_TEXT_BYTES_MAX, nothing reserved.

    `{}` in the template are replaced in order: numbers and `Word`s as they are, other strings quoted.
    """
    parts = [v if isinstance(v, int | Word) else quote(v) for v in values]
    text = template.format(*parts)
    if has_reserved(text):
        return _WITHHELD_TEXT
    return _cut_bytes(text, limits.ERROR_TEXT_BYTES_MAX)


def quote(name: str) -> str:
    """Return a caller's name for a text: in single quotes, cut, escaped; withheld if it holds a reserved text."""
    return f"'{escape(name)}'"


def escape(name: str) -> str:
    """Return a caller's text on one line, cut to QUOTED_NAME_CHARACTERS_MAX, or WITHHELD."""
    if has_reserved(name):
        return WITHHELD
    longest = limits.QUOTED_NAME_CHARACTERS_MAX
    shown = name if len(name) <= longest else name[: longest - 1] + _CUT
    if shown.isascii() and shown.isprintable():
        return shown
    return _cut_characters("".join(map(_shown, shown)), longest)


def has_reserved(text: str) -> bool:
    """Return whether the text holds one that old clients act on, in any spelling of its letters."""
    folded = " ".join(text.casefold().split())
    return any(reserved.casefold() in folded for reserved in RESERVED_TEXTS)


def _shown(character: str) -> str:
    if unicodedata.category(character) in _NOT_ONE_LINE:
        code = ord(character)
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return character


def _cut_characters(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + _CUT


def _cut_bytes(text: str, longest: int) -> str:
    encoded = text.encode()
    if len(encoded) <= longest:
        return text
    room = longest - len(_CUT.encode())
    return encoded[:room].decode(errors="ignore") + _CUT
