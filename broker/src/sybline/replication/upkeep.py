"""When a member looks after its cold files: finds out what is needed of them, has them removed, rewritten, read again.

Lives on the loop and does little at a time: one slice of the survey in a turn, and one piece of file work under way in
the background thread. Rules of what is done are in `cold_store.py`.
"""

import math
from array import array
from collections.abc import Callable
from typing import Final

from sybline import limits
from sybline.replication.cold_file import ColdFile, Needs
from sybline.replication.cold_store import RECORD_COST_BYTES, ColdStore
from sybline.replication.durable_core import Background
from sybline.replication.journal import Journal
from sybline.replication.log import ReplicatedState
from sybline.state_machine.columns import KEYS, NUMBERS

SURVEY_STEP_S: Final = 0.1  # between slices, which take the loop some milliseconds
SURVEY_AGAIN_S: Final = 30.0  # between rounds in which nothing else asked for one
WORK_LOOK_S: Final = 0.1  # until work is looked for again, after there was none
SCRUB_STEP_S: Final = 0.1  # with SCRUB_STEP_BYTES: 10 MiB a second
SCRUB_AGAIN_S: Final = 6 * 3600.0  # from the end of a round to the next one
_PER_ENTRY: Final = limits.BATCH_MESSAGES_MAX


class _Survey:
    """One file of a round: which of its messages were found to be needed so far."""

    def __init__(self, file: ColdFile) -> None:
        self.file = file
        self.position = file.base * _PER_ENTRY
        self.end = file.next_index * _PER_ENTRY
        self.positions, self.counts = array(KEYS), array(NUMBERS)
        self.record_bytes = 0


class Upkeep:
    """See the module."""

    def __init__(
        self,
        journal: Journal,
        state: ReplicatedState,
        *,
        start: Background,
        applied_index: Callable[[], int],
    ) -> None:
        """`start(run, done)`: call run() in another thread, then done() here."""
        self._journal = journal
        self._state = state
        self._start = start
        self._applied_index = applied_index
        self._is_working = False
        self.reset()

    def reset(self) -> None:
        """Forget everything about the files: others have taken their place."""
        self._store: ColdStore = self._journal.cold
        self._to_survey: list[ColdFile] = []
        self._survey: _Survey | None = None
        self._surveyed_index = 0  # applied when the last round began
        self._survey_due_s = self._survey_again_s = -math.inf
        self._work_due_s = self._scrub_due_s = -math.inf
        self._is_scrubbing = False

    @property
    def wants_checkpoint(self) -> bool:
        """Return whether so much is dead that a checkpoint is worth taking for that alone."""
        return self._store.dead_bytes(self._journal.checkpoint_index) >= limits.DEAD_BYTES_MAX

    def checkpointed(self) -> None:
        """A checkpoint counts: what its state needs is what may stay."""
        self._survey_again_s = -math.inf

    def step(self, now_s: float) -> None:
        """Do what is due."""
        if now_s >= self._survey_due_s:
            self._look_on(now_s)
        if not self._is_working and now_s >= self._work_due_s:
            self._work_on(now_s)

    # ------------------------------------------------------------------ the survey

    def _look_on(self, now_s: float) -> None:
        """Ask the state about the next few messages that are stored in cold files."""
        self._survey_due_s = now_s + SURVEY_STEP_S
        left = limits.SURVEY_RUNS
        for _ in range(limits.SURVEY_FILES):
            if left <= 0 or not self._next_survey(now_s):
                return
            left -= self._look(left)

    def _next_survey(self, now_s: float) -> bool:
        """Make sure that there is a file in hand; False: nothing to do now."""
        files = self._store.tier.files
        while self._survey is None or self._survey.file not in files:
            if not self._to_survey and not self._begin_round(now_s):
                self._survey = None
                return False
            self._survey = _Survey(self._to_survey.pop())
        return True

    def _begin_round(self, now_s: float) -> bool:
        """Survey all files from here on, unless nothing has changed, or earlier findings are still to be acted on."""
        store, applied = self._store, self._applied_index()
        if (
            now_s < self._survey_again_s
            or applied == self._surveyed_index
            or store.has_rewrites(self._journal.checkpoint_index)
        ):
            return False
        self._surveyed_index, self._survey_again_s = applied, now_s + SURVEY_AGAIN_S
        self._to_survey = list(reversed(store.tier.files))
        return bool(self._to_survey)

    def _look(self, runs_max: int) -> int:
        """Take one slice of the file in hand and return how many runs it had."""
        survey = self._survey
        assert survey is not None
        live = self._state.live_bodies(survey.position, survey.end, runs_max)
        survey.record_bytes += live.body_bytes + len(live.positions) * RECORD_COST_BYTES
        survey.positions += live.positions
        survey.counts += live.counts
        survey.position = live.end
        if live.end >= survey.end:
            self._survey = None
            self._note(survey)
        return max(len(live.positions), 1)

    def _note(self, survey: _Survey) -> None:
        file, applied, needed = survey.file, self._applied_index(), survey.record_bytes
        if survey.positions and not self._store.is_movable(file, needed):
            nothing = array(KEYS), array(NUMBERS)
            file.needs = Needs(applied, *nothing, needed, is_counted_only=True)
        else:
            file.needs = Needs(applied, survey.positions, survey.counts, needed)

    # ------------------------------------------------------------------ file work

    def _work_on(self, now_s: float) -> None:
        """Start the next piece of work, if there is one."""
        store = self._store
        work = store.next_work(self._journal.checkpoint_index, self._state.thin)
        if work is None and now_s >= self._scrub_due_s:
            if not self._is_scrubbing:
                store.begin_scrub()
            work = store.next_scrub()
            self._is_scrubbing = work is not None
            self._scrub_due_s = now_s + (SCRUB_STEP_S if self._is_scrubbing else SCRUB_AGAIN_S)
        if work is None:
            self._work_due_s = now_s + WORK_LOOK_S
            return
        run, done = work.run, work.done
        self._is_working = True

        def finished() -> None:
            self._is_working = False
            if store is self._journal.cold:
                done()

        self._start(lambda: self._journal.run_upkeep(store, run), finished)
