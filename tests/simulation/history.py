"""What clients were told, and whether it is true: acknowledged, refused or unknown writes, and linearizable reads.

Positions are log indexes. Knows nothing of Raft: only that all members apply the same commands in one order.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.simulation.violation import Violation

Tag = bytes


@dataclass(eq=False)
class Write:
    """One proposed command, and what its caller has heard."""

    tag: Tag
    floor: int  # the highest acknowledged index when it was proposed
    outcome: str = "open"  # or acknowledged, refused, unknown


@dataclass(eq=False)
class Read:
    """One linearizable read."""

    floor: int  # the highest acknowledged index when it was asked for
    answers: int = 0


@dataclass
class History:
    """All writes and reads of one run."""

    totals: "Counter[str]" = field(default_factory=Counter)
    repeats_allowed: bool = False  # the log may hold a command twice: the state must apply it once
    last_acknowledged: int = 0

    def __post_init__(self) -> None:
        self.index_of: dict[Tag, int] = {}  # of the first application
        self._tags: dict[int, Tag] = {}  # index -> tag
        self._refused: set[Tag] = set()
        self._replies: dict[Tag, object] = {}
        self._dumps: dict[int, bytes] = {}
        self.acknowledged: list[Write] = []

    def applied(self, member: int, index: int, tag: Tag) -> None:
        """A member applied a command: the same one as everybody else, and none that was refused."""
        known = self._tags.setdefault(index, tag)
        if known != tag:
            raise Violation(
                "state machine safety", f"member {member} applies another entry {index}"
            )
        first = self.index_of.setdefault(tag, index)
        if first != index:
            if not self.repeats_allowed:
                raise Violation("applied twice", f"{tag.hex()} at {first} and {index}")
            self.totals["repeats"] += 1
        if tag in self._refused:
            raise Violation("refused write applied", f"{tag.hex()} at {index}")

    # ------------------------------------------------------------------ writes

    def proposes(self, tag: Tag) -> Write:
        """A client hands in a command."""
        self.totals["writes"] += 1
        return Write(tag, self.last_acknowledged)

    def acknowledges(self, write: Write) -> None:
        """The caller got its reply: real-time order holds, and it stays applied."""
        self._answer(write, "acknowledged")
        index = self.index_of.get(write.tag)
        if index is None:
            raise Violation("acknowledged, not applied", write.tag.hex())
        if index <= write.floor:
            raise Violation(
                "real-time order",
                f"the write at {index} began after {write.floor} was acknowledged",
            )
        self.last_acknowledged = max(self.last_acknowledged, index)
        self.acknowledged.append(write)

    def refuses(self, write: Write) -> None:
        """The caller was told that it is definitely not applied."""
        self._answer(write, "refused")
        if write.tag in self.index_of:
            raise Violation("refused write applied", write.tag.hex())
        self._refused.add(write.tag)

    def leaves_unknown(self, write: Write) -> None:
        """The caller cannot know: its member died, or told so."""
        self._answer(write, "unknown")

    def _answer(self, write: Write, outcome: str) -> None:
        if write.outcome != "open":
            raise Violation("answered twice", f"{write.outcome}, then {outcome}")
        write.outcome = outcome
        self.totals[outcome] += 1

    def replied(self, tag: Tag, reply: object, *, forgotten: bool) -> None:
        """The state answered a command: the first reply is the only one, however often it is repeated (P-9)."""
        first = self._replies.setdefault(tag, reply)
        if first != reply and not forgotten:
            raise Violation("applied twice", f"{tag.hex()}: {first}, then {reply}")

    def replies(self) -> Iterable[object]:
        """Return the first reply of every command."""
        return self._replies.values()

    def same_state(self, member: int, index: int, dump: bytes) -> None:
        """All members have the same state at the same index."""
        if self._dumps.setdefault(index, dump) != dump:
            raise Violation("state differs", f"member {member} at {index}")

    def in_order(self) -> list[tuple[int, Tag]]:
        """Return all applied commands with their indexes."""
        return sorted(self._tags.items())

    # ------------------------------------------------------------------ reads

    def reads(self) -> Read:
        """A client asks for a linearizable read."""
        return Read(self.last_acknowledged)

    def read_done(self, member: int, read: Read, applied_index: int | None) -> None:
        """The read may look at a state of so many entries; None: it was refused."""
        read.answers += 1
        if read.answers > 1:
            raise Violation("read answered twice", f"by member {member}")
        if applied_index is None:
            self.totals["reads refused"] += 1
            return
        self.totals["reads"] += 1
        if applied_index < read.floor:
            raise Violation(
                "stale read",
                f"member {member} at {applied_index}, {read.floor} was acknowledged before",
            )
