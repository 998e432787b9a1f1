"""What administrators were told about changes of the membership, and whether it is true."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from sybline.errors import NotApplied, OutcomeUnknown
from sybline.replication.configuration import Change, ChangeRefused, Configuration
from tests.simulation.memberships import Memberships, change_between
from tests.simulation.violation import Violation


@dataclass(eq=False)
class Request:
    """One change somebody asked for."""

    change: Change
    expected_version: int
    is_waiting: Callable[[], bool]  # the process that was asked still lives
    outcome: str = "open"  # or made, refused, unknown


class Ledger:
    """All requests of one run."""

    def __init__(self, memberships: Memberships, totals: "Counter[str]") -> None:
        self._memberships = memberships
        self._totals = totals
        self._requests: list[Request] = []

    @property
    def open(self) -> list[Request]:
        """Return what may still happen: unknown ends included, for the request may be on its way."""
        version = self._memberships.latest.configuration.version
        return [
            request
            for request in self._requests
            if request.outcome in ("open", "unknown") and request.expected_version >= version
        ]

    def asks(
        self, change: Change, expected_version: int, is_waiting: Callable[[], bool]
    ) -> Request:
        """Somebody asks."""
        request = Request(change, expected_version, is_waiting)
        self._requests.append(request)
        self._totals["changes asked for"] += 1
        return request

    def hears(self, request: Request, outcome: object) -> None:
        """Somebody got the answer."""
        if request.outcome != "open":
            raise Violation("answered twice", f"{request}, then {outcome}")
        match outcome:
            case Configuration():
                request.outcome = "made"
                self._check_made(request, outcome)
            case ChangeRefused(reason=reason):
                request.outcome = "refused"
                self._totals[f"change refused: {reason.value}"] += 1
            case NotApplied():
                request.outcome = "refused"
            case OutcomeUnknown():
                request.outcome = "unknown"
            case _:
                raise AssertionError(f"an answer of an unknown kind: {outcome!r}")
        self._totals[f"changes {request.outcome}"] += 1

    def _check_made(self, request: Request, configuration: Configuration) -> None:
        """The change was asked for, is committed, and was made to the version that was expected."""
        committed = [held.configuration for held in self._memberships.committed]
        if configuration not in committed:
            raise Violation("made, not committed", f"{request}: {configuration}")
        before = committed[committed.index(configuration) - 1]
        step = change_between(before, configuration)
        if (before.version, step) != (request.expected_version, request.change):
            raise Violation("another change made", f"{request}: {configuration} follows {before}")

    def check(self) -> None:
        """Who waits has an answer; what everybody who asked for it was definitely refused is not in the log."""
        for request in self._requests:
            if request.outcome == "open" and request.is_waiting():
                raise Violation("no answer", repr(request))
        answers: dict[tuple[int, Change], set[str]] = {}
        for request in self._requests:
            answers.setdefault((request.expected_version, request.change), set()).add(
                request.outcome
            )
        committed = [held.configuration for held in self._memberships.committed]
        for before, after in pairwise(committed):
            if before.cluster_uid != after.cluster_uid:
                continue
            asked = answers.get((before.version, change_between(before, after)))
            if asked is None or asked == {"refused"}:
                raise Violation(
                    "refused change made", f"{after} follows {before}, answers: {asked}"
                )
