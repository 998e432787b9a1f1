"""From sources to settings: collect, parse, compare, and either settings or every problem at once.

Precedence: command line, environment, file, default. Reads the configuration file and the files of secrets.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from sybline import limits
from sybline.addresses import split_address
from sybline.config.original_names import NAMES, read_original_names
from sybline.config.problems import ConfigError, not_allowed
from sybline.config.rules import check_together, missing
from sybline.config.settings import KEYS, Settings, value_of, with_values
from sybline.config.sources import (
    ALTERNATIVES,
    CONFIG_VARIABLE,
    Given,
    Reading,
    merge,
    read_content,
    read_environment,
    read_overrides,
    read_tree,
    read_yaml,
)
from sybline.config.values import check_secret_text

PLAIN_TEXT_WARNING = "TLS is off: clients and members talk in plain text"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the settings of a member come from; its file may be read again while it runs."""

    file: Path | None
    environment: Mapping[str, str] = field(repr=False)  # may have secrets
    overrides: Mapping[str, str]

    def read(self) -> bytes:
        """Return what the file holds now.

        Raises:
            ConfigError: there is none, or it cannot be read.
        """
        if self.file is None:
            raise ConfigError(("no file was given",))
        return read_content(self.file)

    def load(self, content: bytes) -> "Loaded":
        """Return the settings that follow from this content of the file.

        Raises:
            ConfigError: they cannot be used; it has every reason.
        """
        return _load(
            self, content, Reading() if self.file is None else read_yaml(self.file, content)
        )


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings that may be used."""

    settings: Settings
    warnings: tuple[str, ...]
    names: Mapping[str, str]  # how each key was written that is not a default
    source: Source
    content: bytes = field(repr=False)  # of the file

    @property
    def sha256(self) -> str:
        """Return the digest of the file's content in hex; "": there is no file."""
        return "" if self.source.file is None else hashlib.sha256(self.content).hexdigest()


def load_settings(
    path: Path | None,
    environment: Mapping[str, str],
    overrides: Mapping[str, str] | None = None,
) -> Loaded:
    """Return the settings of a member; without `path`, the file is the one that SYBLINE_CONFIG names.

    Raises:
        ConfigError: they cannot be used; it has every reason.
    """
    if path is None and environment.get(CONFIG_VARIABLE):
        path = Path(environment[CONFIG_VARIABLE])
    source = Source(path, environment, overrides or {})
    if path is None:
        return source.load(b"")
    try:
        content = source.read()
    except ConfigError as error:
        return _load(source, b"", Reading(problems=[*error.problems]))  # with all other problems
    return source.load(content)


def check_tree(tree: Mapping[str, Any], *, under: str) -> Settings:
    """Return the settings that a file with this tree would give a member, without reading files of secrets.

    `under` is where the tree stands in its document, for the names in problems.

    Raises:
        ConfigError: they cannot be used; it has every reason.
    """
    given, problems = merge([read_tree(tree, under)])
    settings, wrong, found = _parse(given)
    problems += [*found, *_check_together(settings, given, wrong)]
    if problems:
        raise ConfigError(tuple(problems))
    return settings


def _load(source: Source, content: bytes, file: Reading) -> Loaded:
    original = read_original_names(source.environment)
    own = read_environment(source.environment, also_known=NAMES)
    given, problems = merge([file, original, own, read_overrides(source.overrides)])
    settings, wrong, found = _parse(given)
    problems += found
    settings, unreadable, found = _read_secret_files(settings, given)
    problems += [*found, *_check_together(settings, given, wrong | unreadable)]
    if problems:
        raise ConfigError(tuple(problems))
    return Loaded(
        settings=_with_peer_ports(settings),
        warnings=(
            *original.warnings,
            *_find_overridden(original.given, own.given),
            *(() if settings.development or settings.tls.enabled else (PLAIN_TEXT_WARNING,)),
        ),
        names={key: each.name for key, each in given.items()},
        source=source,
        content=content,
    )


def _check_together(
    settings: Settings, given: Mapping[str, Given], wrong: frozenset[str]
) -> list[str]:
    """Return what does not fit each other, apart from keys that are wrong by themselves."""
    return [
        problem.text
        for problem in check_together(settings, lambda key: _name_of(key, given))
        if not problem.keys & wrong
    ]


def _find_overridden(original: Mapping[str, Given], own: Mapping[str, Given]) -> list[str]:
    """Return a warning for each variable of an earlier version that a newer name overrides."""
    return [
        f"{original[key].name}: has no effect: {own[key].name} is set, too"
        for key in original
        if key in own and original[key].value != own[key].value
    ]


def _name_of(key: str, given: Mapping[str, Given]) -> str:
    return given[key].name if key in given else key


# --- parsing ---
def _parse(given: Mapping[str, Given]) -> tuple[Settings, frozenset[str], list[str]]:
    """Return settings, the keys that could not be parsed (they keep their defaults), and the problems."""
    try:
        return Settings.model_validate(_build_tree(given)), frozenset(), []
    except ValidationError as error:
        problems, wrong = [], set()
        for details in error.errors(include_url=False, include_context=False):
            key = ".".join(str(part) for part in details["loc"][:2])
            wrong.add(key)
            problems.append(_describe(key, details, given))
    usable = {key: each for key, each in given.items() if key not in wrong}
    if "member.id" in wrong:
        usable["member.id"] = Given("member.id", "1")  # stands in; no rule about it is looked at
    return Settings.model_validate(_build_tree(usable)), frozenset(wrong), problems


def _build_tree(given: Mapping[str, Given]) -> dict[str, Any]:
    tree: dict[str, Any] = {"member": {}}
    for key, each in given.items():
        section, _, name = key.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[name] = each.value
    return tree


def _describe(key: str, details: ErrorDetails, given: Mapping[str, Given]) -> str:
    allowed = KEYS[key].allowed
    if details["type"] == "missing":
        return missing(key, f"allowed: {allowed}")
    return not_allowed(given[key].name, details["input"], allowed, is_secret=KEYS[key].is_secret)


# --- files of secrets ---
def _read_secret_files(
    settings: Settings, given: Mapping[str, Given]
) -> tuple[Settings, frozenset[str], list[str]]:
    """Return settings with the content of files of secrets, keys whose file is no good, and the problems."""
    problems, wrong = [], set()
    for key, file_key in ALTERNATIVES.items():
        path = value_of(settings, file_key)
        if path is None or (key == "admin.password" and settings.admin.generate_password):
            continue
        try:
            secret = _read_secret(Path(str(path)))
        except OSError as error:
            reason = error.strerror
        except ValueError as error:
            reason = str(error)
        else:
            settings = with_values(settings, {key: SecretStr(secret)})
            continue
        problems.append(f"{_name_of(file_key, given)}: {str(path)!a} cannot be used: {reason}")
        wrong |= {key, file_key}
    return settings, frozenset(wrong), problems


def _read_secret(path: Path) -> str:
    """Return the file's text without the line break at its end.

    Raises:
        OSError: it cannot be read.
        ValueError: it does not hold a secret.
    """
    with path.open("rb") as file:
        raw = file.read(
            limits.SECRET_BYTES_MAX + 3
        )  # one line break more, and a sign that it is longer
    try:
        secret = raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8") from error
    if not secret:
        raise ValueError("it is empty")
    check_secret_text(secret)
    return secret


def _with_peer_ports(settings: Settings) -> Settings:
    """Return settings in which every peer's address has a port: this member's own, unless told."""
    peers = {}
    for member, address in settings.member.peers.items():
        host, port = split_address(address)
        peers[member] = f"{host}:{port or settings.listen.peer_port}"
    return with_values(settings, {"member.peers": peers})
