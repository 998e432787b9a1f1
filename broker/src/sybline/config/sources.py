"""Settings as they were written: text from file, environment and command line, by key and with the name used there.

Only shapes are judged here (is it YAML, does the key exist); values are text until `settings` parses them, so that
`0123` or `no` mean the same wherever they stand. An empty value is the same as none.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from sybline import limits
from sybline.config.problems import ConfigError, show, unknown
from sybline.config.settings import KEYS, PREFIX, SECTIONS

CONFIG_VARIABLE: Final = "SYBLINE_CONFIG"
ALTERNATIVES: Final[
    Mapping[str, str]
] = {  # either is given, not both; the source that wins decides
    "peer.secret": "peer.secret_file",
    "admin.password": "admin.password_file",
    "passwords.pepper": "passwords.pepper_file",
}
_LATER_SECTIONS: Final = frozenset({"redis"})
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BY_VARIABLE: Final = {key.environment_name: path for path, key in KEYS.items()}
# What Kubernetes puts into every pod for a Service whose name begins with "sybline".
_SERVICE_LINK: Final = re.compile(
    r"SYBLINE_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)"
)


@dataclass(frozen=True, slots=True)
class Given:
    """A value, and the name under which it was written."""

    name: str
    value: str | Mapping[str, str]


@dataclass(slots=True)
class Reading:
    """What one source says."""

    given: dict[str, Given] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def merge(readings: Sequence[Reading]) -> tuple[dict[str, Given], list[str]]:
    """Return what applies when later readings win over earlier ones, and all their problems."""
    merged: dict[str, Given] = {}
    problems = []
    for reading in readings:
        problems += reading.problems
        for plain, file in ALTERNATIVES.items():
            if plain in reading.given and file in reading.given:
                names = f"{reading.given[plain].name}, {reading.given[file].name}"
                problems.append(f"{names}: give only one of the two")
            if plain in reading.given or file in reading.given:
                merged.pop(plain, None)
                merged.pop(file, None)
        merged.update(reading.given)
    return merged, problems


# --- environment and command line ---
def read_environment(environment: Mapping[str, str], also_known: frozenset[str]) -> Reading:
    """Return the keys set as SYBLINE_<SECTION>__<KEY>; `also_known` names are read elsewhere."""
    reading = Reading()
    for name, value in environment.items():
        if not name.startswith(PREFIX) or name in also_known or name == CONFIG_VARIABLE:
            continue
        if name in _BY_VARIABLE:
            if value:
                reading.given[_BY_VARIABLE[name]] = Given(name, value)
        elif not _is_service_link(name, value):
            section = name.removeprefix(PREFIX).partition("__")[0].lower()
            known = (*_BY_VARIABLE, *also_known, CONFIG_VARIABLE)
            reading.problems.append(_unknown_key(name, name, section, known))
    return reading


def read_overrides(overrides: Mapping[str, str]) -> Reading:
    """Return the keys set on the command line, where no secret may stand: others can list it."""
    reading = Reading()
    for path, value in overrides.items():
        name = f"--set {path}"
        if path not in KEYS:
            reading.problems.append(_unknown_key(name, path, path.partition(".")[0], KEYS))
        elif KEYS[path].is_secret:
            advice = f"use {ALTERNATIVES[path]}"
            reading.problems.append(
                f"{name}: a secret on the command line shows in the process list; {advice}"
            )
        elif value:
            reading.given[path] = Given(name, value)
    return reading


def _is_service_link(name: str, value: str) -> bool:
    if "__" in name:
        return False
    is_port_address = name.endswith("_PORT") and "://" in value
    return is_port_address or _SERVICE_LINK.fullmatch(name) is not None


def _unknown_key(
    name: str, word: str, section: str, known: Sequence[str] | Mapping[str, object]
) -> str:
    if section in _LATER_SECTIONS:
        return f"{name}: not available in this version"
    return unknown(name, word, known)


# --- file ---
def read_content(path: Path) -> bytes:
    """Return what a YAML file holds.

    Raises:
        ConfigError: it cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(limits.CONFIG_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError((f"{path}: cannot be read: {error.strerror}",)) from error
    if len(raw) > limits.CONFIG_FILE_BYTES_MAX:
        raise ConfigError((f"{path}: larger than {limits.CONFIG_FILE_BYTES_MAX} bytes",))
    return raw


def read_yaml(path: Path, content: bytes) -> Reading:
    """Return the keys in the content of a YAML file."""
    reading = Reading()
    try:
        root = yaml.compose(content.decode(), Loader=yaml.BaseLoader)
    except UnicodeDecodeError:
        reading.problems.append(f"{path}: not UTF-8")
    except yaml.MarkedYAMLError as error:
        reading.problems.append(f"{path}{_place(error.problem_mark)}: not valid YAML")
    except (yaml.YAMLError, ValueError):
        reading.problems.append(f"{path}: not valid YAML")
    except RecursionError:
        reading.problems.append(f"{path}: nested too deeply")
    else:
        if root is not None and not _is_null(root):
            _TreeReader(reading, str(path), f"{{}} ({path} line {{}})".format).read(root)
    return reading


def read_tree(tree: Mapping[str, Any], under: str) -> Reading:
    """Return the keys of what stands in a document under `under`, as if it were a YAML file of its own."""
    reading = Reading()
    root = yaml.compose(yaml.safe_dump(dict(tree)), Loader=yaml.BaseLoader)
    if root is not None:
        _TreeReader(reading, under, lambda key, _line: f"{under}.{key}").read(root)
    return reading


def _place(mark: yaml.Mark | None) -> str:
    return "" if mark is None else f" line {mark.line + 1}, column {mark.column + 1}"


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.style is None and node.value in _NULLS


class _TreeReader:
    """Walks the nodes of one document; only known keys are followed, so its size bounds the work."""

    def __init__(self, reading: Reading, whole: str, name_of: Callable[[str, int], str]) -> None:
        """`whole` names the document in problems, `name_of` a key in a line of it."""
        self._reading = reading
        self._whole = whole
        self._name_of = name_of

    def read(self, root: Node) -> None:
        for name, node in self._entries(root, self._whole, "sections"):
            if name in SECTIONS:
                if not _is_null(node):
                    self._read_section(name, node)
            else:
                self._take(name, node)

    def _read_section(self, section: str, node: Node) -> None:
        for name, value in self._entries(node, self._name(section, node), "keys"):
            self._take(f"{section}.{name}", value)

    def _take(self, key: str, node: Node) -> None:
        name, given = self._name(key, node), self._reading.given
        if key not in KEYS:
            section = key.partition(".")[0]
            self._reading.problems.append(_unknown_key(name, key, section, (*SECTIONS, *KEYS)))
        elif key in given:
            self._reading.problems.append(f"{name}: given twice")
        elif isinstance(node, ScalarNode):
            if not _is_null(node) and node.value:
                given[key] = Given(name, node.value)
        elif key == "member.peers":
            given[key] = Given(name, dict(self._texts(node, name)))
        else:
            self._reading.problems.append(
                f"{name}: one value is expected; allowed: {KEYS[key].allowed}"
            )

    def _texts(self, node: Node, name: str) -> Iterator[tuple[str, str]]:
        for member, value in self._entries(node, name, "members"):
            if isinstance(value, ScalarNode):
                yield member, value.value
            else:
                self._reading.problems.append(f"{name}: member {show(member)} needs one address")

    def _entries(self, node: Node, name: str, kind: str) -> Iterator[tuple[str, Node]]:
        """Yield keys and values; keys that are no text or come twice are problems."""
        if not isinstance(node, MappingNode):
            self._reading.problems.append(f"{name}: a group of {kind} is expected")
            return
        seen = set()
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._reading.problems.append(f"{self._name('key', key)}: must be a text")
            elif key.value in seen:
                again = f"again in line {key.start_mark.line + 1}"
                self._reading.problems.append(f"{name}: {show(key.value)} is given twice, {again}")
            else:
                seen.add(key.value)
                yield key.value, value

    def _name(self, key: str, node: Node) -> str:
        printable = key if key.isprintable() and key.isascii() else ascii(key)
        return self._name_of(printable, node.start_mark.line + 1)
