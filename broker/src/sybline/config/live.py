"""The settings in force while a member runs: those of its start, and what its file says now of keys that are live.

A changed file is judged as a whole, by the rules of a start and with the same command line and environment. Readers ask
for `in_force` each time and see a change all at once. Who has to be told is told by `on_change`, on the loop.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from sybline import limits
from sybline.config.loading import Loaded
from sybline.config.problems import ConfigError
from sybline.config.rules import check_together
from sybline.config.settings import KEYS, Settings, show_setting, value_of, with_values
from sybline.config.sources import ALTERNATIVES
from sybline.watched_files import BadContent, WatchedFiles

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Split:
    """What a change of settings comes to in a running member."""

    live: Mapping[str, object]  # keys that come into force now, with their values
    pending: tuple[str, ...]  # keys that a restart brings into force


def split_change(running: Settings, wanted: Settings) -> Split:
    """Return which of the wanted values a running member can take.

    A live key that does not fit what stays until the restart waits for it, too.
    """
    changed = {
        path: value_of(wanted, path)
        for path in KEYS
        if value_of(wanted, path) != value_of(running, path)
        and not _comes_from_file(path, running, wanted)
    }
    live = {path: value for path, value in changed.items() if KEYS[path].is_live}
    misfits: set[str] = set()
    for problem in check_together(with_values(running, live), lambda path: path):
        misfits |= problem.keys
    live = {path: value for path, value in live.items() if path not in misfits}
    return Split(live, tuple(path for path in changed if path not in live))


def _comes_from_file(path: str, running: Settings, wanted: Settings) -> bool:
    """Return whether a secret is read from a file: that file is not the one that is watched."""
    sibling = ALTERNATIVES.get(path)
    return sibling is not None and None not in (value_of(s, sibling) for s in (running, wanted))


class LiveSettings:
    """See the module."""

    def __init__(self, loaded: Loaded, *, on_change: Callable[[Settings], None]) -> None:
        """Begin with what was loaded for the start; `on_change` gets the settings in force after a change of them."""
        source = loaded.source
        self._has_file = source.file is not None
        self._watched = WatchedFiles(source.read, source.load, self._refused)
        self._watched.adopt(loaded.content, loaded)
        self._on_change = on_change
        self.in_force = loaded.settings
        self.pending: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Return the digest of the file whose live keys are in force, in hex; "": there is no file."""
        return self._watched.made.sha256

    @property
    def refusal(self) -> str:
        """Return why what the file holds now is not used; "": it is."""
        if self._watched.refusal is None:
            return ""
        text = "; ".join(_problems(self._watched.refusal))
        return text[: limits.SETTINGS_REFUSAL_CHARACTERS_MAX]

    @property
    def reloads(self) -> int:
        """Return how often a changed file came into force."""
        return self._watched.replaced

    @property
    def refusals(self) -> int:
        """Return how often a changed file was refused."""
        return self._watched.refused

    async def follow_file(self) -> None:
        """Look at the file for ever."""
        while True:
            await asyncio.sleep(limits.SETTINGS_CHECK_S)
            await self.check()

    async def check(self) -> None:
        """Take what the file says if it is new and good; else keep what is in force."""
        if self._has_file and await asyncio.to_thread(self._watched.check):
            self._take(self._watched.made.settings)

    def _take(self, wanted: Settings) -> None:
        split = split_change(self.in_force, wanted)
        before, self.in_force = self.in_force, with_values(self.in_force, split.live)
        self.pending = split.pending
        if split.live:
            self._on_change(self.in_force)
        changes = [_describe(path, before, self.in_force) for path in split.live]
        log.info("settings_in_force", changes=changes, sha256=self.sha256)
        if split.pending:
            log.warning("settings_need_restart", keys=list(split.pending))

    def _refused(self, error: BadContent) -> None:
        log.error("settings_refused", problems=_problems(error), kept_sha256=self.sha256)


def _describe(path: str, before: Settings, after: Settings) -> str:
    old, new = (show_setting(value_of(settings, path)) for settings in (before, after))
    return f"{path}: {old or 'none'} -> {new or 'none'}"


def _problems(error: BadContent) -> list[str]:
    return [*error.problems] if isinstance(error, ConfigError) else [str(error)]
