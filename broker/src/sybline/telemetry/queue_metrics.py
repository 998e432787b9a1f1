"""Queues as metrics: one table of names, read from the state when the page is asked for.

Series are capped: the QUEUE_METRIC_SERIES_MAX oldest queues have their own, the others are added up as `_other`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from sybline import limits
from sybline.state_machine.queue import Counters
from sybline.state_machine.read import QueueStats
from sybline.telemetry.exposition import Family, label_text, write_family

OTHER: Final = "_other"

_ByReason = Callable[[Counters], Mapping[str, int]]
_MESSAGES: Final = Family("sybline_queue_messages", "gauge", "Messages held, by state.")
_AGE: Final = Family(
    "sybline_queue_oldest_message_age_seconds",
    "gauge",
    "Age of the oldest message held, in any state, to the second; 0: empty.",
)
_PLAIN: Final[tuple[tuple[Family, Callable[[QueueStats], int]], ...]] = (
    (Family("sybline_queue_bytes", "gauge", "Bytes of bodies held."), lambda q: q.bytes),
    (
        Family("sybline_queue_consumers", "gauge", "Sessions that fetched here lately."),
        lambda q: q.consumers,
    ),
    (
        Family("sybline_messages_published_total", "counter", "Messages published."),
        lambda q: q.counters.published,
    ),
    (
        Family("sybline_messages_delivered_total", "counter", "Leases granted."),
        lambda q: q.counters.delivered,
    ),
    (
        Family("sybline_messages_redelivered_total", "counter", "Of these, not the first."),
        lambda q: q.counters.redelivered,
    ),
    (
        Family("sybline_messages_settled_total", "counter", "Messages acknowledged."),
        lambda q: q.counters.settled,
    ),
    (
        Family("sybline_messages_returned_total", "counter", "Leases ended without a settle."),
        lambda q: q.counters.returned,
    ),
)
_BY_REASON: Final[tuple[tuple[Family, _ByReason], ...]] = (
    (
        Family(
            "sybline_messages_dead_lettered_total",
            "counter",
            "Messages moved to the dead-letter queue.",
        ),
        lambda counters: counters.dead_lettered,
    ),
    (
        Family("sybline_messages_removed_total", "counter", "Messages that left without a settle."),
        lambda counters: counters.removed,
    ),
    (
        Family("sybline_publish_refused_total", "counter", "Messages of refused publishes."),
        lambda counters: counters.refused,
    ),
)


def write_queues(queues: Iterable[QueueStats], *, now_ms: int) -> str:
    """Return the page's part; `queues` come in the order of their creation, `now_ms` is log time."""
    rows = [(label_text(queue=queue.name), queue) for queue in _capped(queues)]
    parts = [write_family(_MESSAGES, _state_samples(rows))]
    for family, value_of in _PLAIN:
        parts.append(write_family(family, [(labels, value_of(queue)) for labels, queue in rows]))
    ages = [(labels, _age_s(queue, now_ms)) for labels, queue in rows]
    parts.append(write_family(_AGE, ages))
    for family, reasons_of in _BY_REASON:
        parts.append(write_family(family, _reason_samples(rows, reasons_of)))
    return "".join(parts)


_Rows = list[tuple[str, QueueStats]]


def _state_samples(rows: _Rows) -> Iterator[tuple[str, int]]:
    for labels, queue in rows:
        yield f'{labels},state="ready"', queue.ready
        yield f'{labels},state="leased"', queue.leased
        yield f'{labels},state="delayed"', queue.delayed
        yield f'{labels},state="parked"', queue.parked


def _reason_samples(rows: _Rows, reasons_of: _ByReason) -> Iterator[tuple[str, int]]:
    for labels, queue in rows:
        for reason, count in reasons_of(queue.counters).items():
            yield f"{labels},{label_text(reason=reason)}", count


def _age_s(queue: QueueStats, now_ms: int) -> float:
    return 0.0 if queue.oldest_ms is None else max(0, now_ms - queue.oldest_ms) / 1000


# --- the cap ---
def _capped(queues: Iterable[QueueStats]) -> list[QueueStats]:
    """Return at most QUEUE_METRIC_SERIES_MAX queues and the sum of the others, if there are any."""
    shown: list[QueueStats] = []
    others: list[QueueStats] = []
    for queue in queues:
        has_own_series = len(shown) < limits.QUEUE_METRIC_SERIES_MAX and queue.name != OTHER
        (shown if has_own_series else others).append(queue)
    return [*shown, _sum(others)] if others else shown


def _sum(queues: list[QueueStats]) -> QueueStats:
    oldest = [queue.oldest_ms for queue in queues if queue.oldest_ms is not None]
    return QueueStats(
        name=OTHER,
        size=0,
        retry_limit=0,
        max_bytes=0,
        dead_letters="",
        owner="",
        keys=(),
        ready=sum(queue.ready for queue in queues),
        leased=sum(queue.leased for queue in queues),
        delayed=sum(queue.delayed for queue in queues),
        parked=sum(queue.parked for queue in queues),
        bytes=sum(queue.bytes for queue in queues),
        consumers=sum(queue.consumers for queue in queues),
        oldest_ms=min(oldest, default=None),
        counters=_sum_counters([queue.counters for queue in queues]),
    )


def _sum_counters(counters: list[Counters]) -> Counters:
    return Counters(
        published=sum(each.published for each in counters),
        delivered=sum(each.delivered for each in counters),
        redelivered=sum(each.redelivered for each in counters),
        settled=sum(each.settled for each in counters),
        returned=sum(each.returned for each in counters),
        dead_lettered=_sum_reasons(each.dead_lettered for each in counters),
        removed=_sum_reasons(each.removed for each in counters),
        refused=_sum_reasons(each.refused for each in counters),
    )


def _sum_reasons(reasons: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in reasons:
        for reason, count in each.items():
            total[reason] = total.get(reason, 0) + count
    return total
