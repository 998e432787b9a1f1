"""How a wrong setting is told: one line with the key as it was written, the value, and what is allowed.

Values of secrets, and of keys that nobody knows (a misspelt secret may be one), never get here.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from sybline import limits
from sybline.watched_files import BadContent

HIDDEN = "(not shown)"


class ConfigError(BadContent):
    """The settings cannot be used; `problems` has one line for each reason."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Problem:
    """One line, and the settings it is about: whoever is wrong alone is not compared with others."""

    text: str
    keys: frozenset[str] = frozenset()


def show(value: object) -> str:
    """Return a value for an error line: quoted, printable and short."""
    if not isinstance(value, str | int | float):
        return "a group of keys" if isinstance(value, dict) else "a list"
    text = str(value)
    most = limits.SHOWN_VALUE_CHARACTERS_MAX
    return ascii(text) if len(text) <= most else f"{text[:most]!a}…"


def not_allowed(name: str, value: object, allowed: str, *, is_secret: bool = False) -> str:
    """Return the line of a value that is out of range or malformed."""
    return f"{name}: {HIDDEN if is_secret else show(value)} is not allowed; allowed: {allowed}"


def unknown(name: str, word: str, known: Iterable[str]) -> str:
    """Return the line of a key that does not exist, with the nearest that does."""
    nearest = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"{name}: unknown key" + (f"; did you mean {nearest[0]}?" if nearest else "")
