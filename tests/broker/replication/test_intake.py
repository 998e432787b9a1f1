"""The leader's door: stamped, bounded per peer, and silent unless a command was definitely not appended."""

import pytest

from sybline import limits
from sybline.replication.codec import UnknownFormat, decode_header, encode_request
from sybline.replication.intake import Intake, Refusal
from sybline.replication.measures import Counters
from sybline.state_machine.commands import Caller, Enqueue, Tick


class Bench:
    def __init__(self) -> None:
        self.appended: list[tuple[bytes, Refusal]] = []
        self.told: list[tuple[int, int, int, bool]] = []
        self.intake = Intake(
            append=lambda payload, refused: self.appended.append((payload, refused)),
            stamp_ms=lambda: 123_456,
            refuse=lambda *refusal: self.told.append(refusal),
            counters=Counters(),
        )


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_forwarded_command_is_stamped_and_otherwise_unchanged(bench: Bench) -> None:
    payload = encode_request(7, 3, 2, Tick())
    bench.intake.forwarded(2, payload)
    ((stamped, _),) = bench.appended
    header = decode_header(stamped)
    assert (header.now_ms, header.origin, header.sequence, header.answered_below) == (
        123_456, 7, 3, 2,
    )  # fmt: skip
    assert stamped[9:] == payload[9:]
    assert bench.told == []


def test_a_definite_refusal_is_told_to_the_peer_it_came_from(bench: Bench) -> None:
    bench.intake.forwarded(2, encode_request(7, 3, 2, Tick()))
    bench.appended[0][1](False)
    assert bench.told == [(2, 7, 3, False)]
    assert bench.intake.in_flight(2) == 0


def test_one_peer_cannot_have_more_than_its_share_in_flight(bench: Bench) -> None:
    for sequence in range(limits.FORWARDED_PER_PEER_MAX):
        bench.intake.forwarded(2, encode_request(7, sequence, 0, Tick()))
    bench.intake.forwarded(2, encode_request(7, 999_999, 0, Tick()))
    assert bench.told == [(2, 7, 999_999, True)]
    bench.intake.forwarded(3, encode_request(8, 1, 0, Tick()))
    bench.intake.applied(7, 0)
    bench.intake.forwarded(2, encode_request(7, 999_999, 0, Tick()))
    assert len(bench.told) == 1
    assert bench.intake.in_flight(2) == limits.FORWARDED_PER_PEER_MAX


def test_forwarded_bytes_are_bounded_too(bench: Bench) -> None:
    command = Enqueue(Caller("u", b"c" * 16), ("k",), (), b"x" * (4 * limits.MIB))
    for sequence in range(20):
        bench.intake.forwarded(2, encode_request(7, sequence, 0, command))
    assert 0 < len(bench.told) < 20
    assert {overloaded for *_, overloaded in bench.told} == {True}


def test_the_same_command_again_is_counted_once(bench: Bench) -> None:
    for _ in range(3):
        bench.intake.forwarded(2, encode_request(7, 3, 2, Tick()))
    assert bench.intake.in_flight(2) == 1
    bench.intake.applied(7, 3)
    assert bench.intake.in_flight(2) == 0


def test_a_change_of_leadership_forgets_what_was_in_flight(bench: Bench) -> None:
    bench.intake.forwarded(2, encode_request(7, 3, 2, Tick()))
    bench.intake.reset()
    bench.intake.applied(7, 3)
    assert bench.intake.in_flight(2) == 0


@pytest.mark.parametrize(
    "payload", [b"", b"\1short", b"\7" * 64, encode_request(7, 3, 2, Tick()) + b"more", b"\1" * 64]
)
def test_what_would_stop_every_member_never_enters_the_log(bench: Bench, payload: bytes) -> None:
    with pytest.raises(UnknownFormat):
        bench.intake.forwarded(2, payload)
    assert bench.appended == []
