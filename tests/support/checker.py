"""What a run's history proves: records of every call, and the report of what must not have happened.

Times are seconds of one monotonic clock on the client's side. A call took effect, if at all, between its start and its
end, so only what is certain from outside is reported: two holders count as such when both *surely* held the message.

Rules: reliability spec, section 4. A publish is `ok`, `failed` (every attempt definitely had no effect) or `unknown`.
"""

import itertools
import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"
SETTLE, RETURN = "settle", "return"
KINDS = (
    "lost",
    "resurrected",
    "phantom",
    "double-held",
    "duplicated",
    "reordered",
    "unexpected",
    "corrupted",
    "stuck",
    "diverged",
)


@dataclass(frozen=True, slots=True)
class Publish:
    """One message as its producer saw it, all attempts together."""

    tag: str
    queue: str
    producer: str
    start: float
    end: float
    outcome: str
    copies_max: int = 1  # more only when it was repeated blindly after an unknown outcome


@dataclass(frozen=True, slots=True)
class Fetch:
    """One GetMessages call."""

    queue: str
    consumer: str
    start: float
    end: float
    outcome: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message in the answer of a fetch."""

    queue: str
    message_id: bytes
    consumer: str
    start: float
    end: float
    place: int  # within the answer
    tag: str
    intact: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """One attempt to settle or return one message."""

    kind: str
    queue: str
    message_id: bytes
    consumer: str
    start: float
    end: float
    outcome: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation, in words."""

    kind: str
    queue: str
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.queue}: {self.subject}: {self.text}"


@dataclass
class History:
    """Everything that clients did and saw."""

    publishes: list[Publish] = field(default_factory=list)
    fetches: list[Fetch] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    session_ends: list[tuple[str, float]] = field(default_factory=list)  # (consumer, call's start)

    def ok_times(self) -> list[float]:
        """Return when publishes were confirmed, in order."""
        return sorted(p.end for p in self.publishes if p.outcome == OK)

    def longest_gap_s(self, since: float, until: float) -> float:
        """Return the longest time without a confirm between two moments."""
        inside = [t for t in self.ok_times() if since <= t <= until]
        moments = [since, *inside, until]
        return max(b - a for a, b in itertools.pairwise(moments))


@dataclass
class Report:
    """The findings, and how much was done to find them."""

    findings: list[Finding]
    counts: dict[str, int]

    @property
    def is_clean(self) -> bool:
        """Return whether nothing forbidden happened."""
        return not self.findings

    def number(self, kind: str) -> int:
        """Return how many findings there are of one kind."""
        return sum(1 for finding in self.findings if finding.kind == kind)

    def summary(self) -> str:
        """Return one line of activity and one of findings."""
        done = ", ".join(f"{name} {count}" for name, count in self.counts.items())
        found = ", ".join(f"{kind} {self.number(kind)}" for kind in KINDS)
        return f"{done}\n{found}"

    def __str__(self) -> str:
        return "\n".join([self.summary(), *(str(finding) for finding in self.findings[:50])])


def build_body(tag: str, size: int = 0) -> bytes:
    """Return a body that carries its tag and a checksum, at least `size` bytes long."""
    head = f"{tag} ".encode()
    filler = (head * (size // len(head) + 1))[: max(0, size - len(head) - 9)]
    return head + f"{zlib.crc32(head + filler):08x} ".encode() + filler


def read_body(body: bytes) -> tuple[str, bool]:
    """Return the tag and whether the checksum is right."""
    tag, _, rest = body.partition(b" ")
    checksum, _, filler = rest.partition(b" ")
    wanted = f"{zlib.crc32(tag + b' ' + filler):08x}".encode()
    return tag.decode(errors="replace"), checksum == wanted


def check(
    history: History,
    *,
    drained: bool,
    lease_s: float,
    digests: dict[int, str] | None = None,
) -> Report:
    """Report what must not have happened.

    `drained`: the queues were emptied after the faults; else what is missing counts as stuck, not as lost.
    `digests`: the members' states in any comparable form, all taken at the same log index.
    """
    view = _View(history, lease_s)
    findings = [
        *_find_missing(view, "lost" if drained else "stuck"),
        *_find_resurrected(view),
        *_find_phantoms(view),
        *_find_double_held(view),
        *_find_duplicates(view),
        *_find_reordered(view),
        *_find_unexpected(view),
        *_find_diverged(digests or {}),
    ]
    return Report(findings, _count(history, view))


class _View:
    """The history, indexed."""

    def __init__(self, history: History, lease_s: float) -> None:
        self.history = history
        self.lease_s = lease_s
        self.publishes = {(p.queue, p.tag): p for p in history.publishes}
        self.by_id: dict[tuple[str, bytes], list[Delivery]] = defaultdict(list)
        self.ids_of: dict[tuple[str, str], set[bytes]] = defaultdict(set)
        for delivery in sorted(history.deliveries, key=lambda d: (d.end, d.place)):
            self.by_id[delivery.queue, delivery.message_id].append(delivery)
            self.ids_of[delivery.queue, delivery.tag].add(delivery.message_id)
        self.answers: dict[tuple[str, bytes], list[Answer]] = defaultdict(list)
        for answer in sorted(history.answers, key=lambda a: a.start):
            self.answers[answer.queue, answer.message_id].append(answer)
        self.session_ends: dict[str, list[float]] = defaultdict(list)
        for consumer, start in history.session_ends:
            self.session_ends[consumer].append(start)

    def may_be_settled(self, queue: str, tag: str) -> bool:
        """Return whether a settle of one of the tag's messages succeeded or may have."""
        return any(
            answer.kind == SETTLE and answer.outcome != FAILED
            for message_id in self.ids_of.get((queue, tag), ())
            for answer in self.answers.get((queue, message_id), ())
        )

    def surely_held_until(self, delivery: Delivery) -> float:
        """Return up to when the consumer surely held what it received."""
        key = (delivery.queue, delivery.message_id)
        ends = [
            answer.start
            for answer in self.answers.get(key, ())
            if answer.consumer == delivery.consumer and answer.start >= delivery.start
        ]
        ends += [t for t in self.session_ends.get(delivery.consumer, ()) if t >= delivery.start]
        return min([delivery.start + self.lease_s, *ends])


def _find_missing(view: _View, kind: str) -> Iterable[Finding]:
    for publish in view.history.publishes:
        if publish.outcome == OK and not view.may_be_settled(publish.queue, publish.tag):
            seen = "delivered, never settled" if (publish.queue, publish.tag) in view.ids_of else (
                "never delivered"
            )  # fmt: skip
            yield Finding(kind, publish.queue, publish.tag, f"confirmed, {seen}")


def _find_resurrected(view: _View) -> Iterable[Finding]:
    for (queue, message_id), answers in view.answers.items():
        settled = [a.end for a in answers if a.kind == SETTLE and a.outcome == OK]
        if not settled:
            continue
        first = min(settled)
        for delivery in view.by_id.get((queue, message_id), ()):
            if delivery.start > first:
                late = delivery.start - first
                text = f"fetched by {delivery.consumer} {late:.3f} s after its settle was confirmed"
                yield Finding("resurrected", queue, delivery.tag, text)


def _find_phantoms(view: _View) -> Iterable[Finding]:
    for publish in view.history.publishes:
        if publish.outcome == FAILED and (publish.queue, publish.tag) in view.ids_of:
            text = "every publish attempt definitely failed, yet it was delivered"
            yield Finding("phantom", publish.queue, publish.tag, text)


def _find_double_held(view: _View) -> Iterable[Finding]:
    for (queue, _), deliveries in view.by_id.items():
        held: list[tuple[float, float, Delivery]] = []
        for delivery in deliveries:
            until = view.surely_held_until(delivery)
            for _, other_until, other in held:
                if other.consumer != delivery.consumer and delivery.end < min(other_until, until):
                    text = (
                        f"held by {other.consumer} until {other_until:.3f} "
                        f"and by {delivery.consumer} from {delivery.end:.3f}"
                    )
                    yield Finding("double-held", queue, delivery.tag, text)
            held.append((delivery.end, until, delivery))


def _find_duplicates(view: _View) -> Iterable[Finding]:
    for (queue, tag), ids in view.ids_of.items():
        publish = view.publishes.get((queue, tag))
        if publish is not None and len(ids) > publish.copies_max:
            yield Finding("duplicated", queue, tag, f"{len(ids)} messages carry it")


def _find_reordered(view: _View) -> Iterable[Finding]:
    """Compare first deliveries with the order in which a producer had its confirms.

    A fetch whose answer was lost may have leased a message first to somebody who never saw it; such messages are left
    out (`_first_seen`).
    """
    unknown = _unknown_fetches(view.history)
    runs: dict[tuple[str, str], list[Publish]] = defaultdict(list)
    for publish in sorted(view.history.publishes, key=lambda p: p.start):
        if publish.outcome == OK and publish.copies_max == 1:
            runs[publish.producer, publish.queue].append(publish)
    for (_, queue), publishes in runs.items():
        latest: tuple[Publish, Delivery] | None = None  # of the delivery that began last so far
        for publish in publishes:
            first = _first_seen(view, unknown, publish)
            if first is None:
                continue
            if (
                latest is not None
                and latest[0].end < publish.start
                and _is_before(first, latest[1])
            ):
                text = f"first delivered before {latest[0].tag}, which was confirmed earlier"
                yield Finding("reordered", queue, publish.tag, text)
            if latest is None or (first.start, first.place) > (latest[1].start, latest[1].place):
                latest = (publish, first)


def _is_before(one: Delivery, other: Delivery) -> bool:
    """Return whether `one` was surely delivered before `other`."""
    if (one.consumer, one.start, one.end) == (other.consumer, other.start, other.end):
        return one.place < other.place
    return one.end < other.start


def _unknown_fetches(history: History) -> dict[str, list[Fetch]]:
    found: dict[str, list[Fetch]] = defaultdict(list)
    for fetch in history.fetches:
        if fetch.outcome == UNKNOWN:
            found[fetch.queue].append(fetch)
    return found


def _first_seen(view: _View, unknown: dict[str, list[Fetch]], publish: Publish) -> Delivery | None:
    """Return the first delivery, or None when an unseen one may have come before it."""
    ids = view.ids_of.get((publish.queue, publish.tag))
    if not ids or len(ids) > 1:
        return None
    first = view.by_id[publish.queue, next(iter(ids))][0]
    for fetch in unknown.get(publish.queue, ()):
        if fetch.end >= publish.start and fetch.start <= first.end:
            return None
    return first


def _find_unexpected(view: _View) -> Iterable[Finding]:
    for delivery in view.history.deliveries:
        if not delivery.intact:
            yield Finding("corrupted", delivery.queue, delivery.tag, "its checksum is wrong")
        elif (delivery.queue, delivery.tag) not in view.publishes:
            yield Finding("unexpected", delivery.queue, delivery.tag, "nobody published it")


def _find_diverged(digests: dict[int, str]) -> Iterable[Finding]:
    if len(set(digests.values())) > 1:
        text = ", ".join(f"member {member}: {digest}" for member, digest in digests.items())
        yield Finding("diverged", "-", "state", text)


def _count(history: History, view: _View) -> dict[str, int]:
    outcomes = [publish.outcome for publish in history.publishes]
    settled = [a for a in history.answers if a.kind == SETTLE]
    return {
        "confirmed": outcomes.count(OK),
        "failed": outcomes.count(FAILED),
        "unknown": outcomes.count(UNKNOWN),
        "deliveries": len(history.deliveries),
        "redeliveries": len(history.deliveries) - len(view.by_id),
        "settled": sum(1 for a in settled if a.outcome == OK),
        "returned": sum(1 for a in history.answers if a.kind == RETURN and a.outcome == OK),
        "unknown fetches": sum(1 for f in history.fetches if f.outcome == UNKNOWN),
    }
