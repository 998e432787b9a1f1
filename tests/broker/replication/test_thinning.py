"""A thinned entry keeps the number and the body of every message that is needed, and no more than that."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sybline.api.bodies import EntryBodies
from sybline.replication import codec
from sybline.replication.packing import Packer, unpack
from sybline.state_machine.commands import Caller, Enqueue, Tick
from tests.support.replicas import batch

CALLER = Caller("root", bytes(16))
MESSAGES = st.lists(
    st.tuples(st.sampled_from(("a", "b", "c")), st.binary(max_size=12)), min_size=1, max_size=40
)


def published(messages: list[tuple[str, bytes]]) -> bytes:
    command = batch(CALLER, *messages, key="once")
    return codec.stamp(codec.encode_request(3, 4, 5, command), 77)


def bodies_of(payload: bytes, numbers: list[int]) -> list[bytes]:
    command = codec.decode_command(payload)
    assert isinstance(command, Enqueue)
    sizes = [run.size_bytes for run in command.runs for _ in range(run.count)]
    stored = EntryBodies(command)
    return [stored.bodies[stored.offset(n) : stored.offset(n) + sizes[n]] for n in numbers]


def runs_of(numbers: list[int]) -> list[tuple[int, int]]:
    """Return numbers as runs, some of them longer than one."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and sum(runs[-1]) == number and number % 3:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((number, 1))
    return runs


@settings(deadline=None)
@given(MESSAGES, st.data())
def test_needed_messages_keep_their_numbers_and_bodies(
    messages: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    kept = sorted(data.draw(st.sets(st.integers(0, len(messages) - 1), min_size=1)))
    whole = published(messages)
    thinned = codec.thin(whole, runs_of(kept))
    assert thinned is not None
    assert bodies_of(thinned, kept) == [messages[number][1] for number in kept]
    again = codec.thin(thinned, runs_of(kept[:1]))
    assert again is not None
    assert bodies_of(again, kept[:1]) == [messages[kept[0]][1]]
    assert codec.decode_header(thinned) == codec.decode_header(whole)


def test_an_entry_that_is_needed_whole_stays_as_it_is() -> None:
    whole = published([("a", b"one"), ("b", b"two")])
    assert codec.thin(whole, [(0, 2)]) == whole


def test_one_stuck_message_of_a_large_batch_keeps_little_more_than_its_body() -> None:
    keys = [f"key-{n}" for n in range(2_000)]
    whole = published([(key, b"x" * (n % 50)) for n, key in enumerate(keys)])
    thinned = codec.thin(whole, [(1_777, 1)])
    assert thinned is not None
    assert len(thinned) < 150


def test_an_entry_without_needed_messages_has_nothing_to_keep() -> None:
    assert codec.thin(published([("a", b"one")]), []) is None
    assert codec.thin(codec.encode_request(1, 1, 1, Tick()), [(0, 1)]) is None


@settings(deadline=None)
@given(st.binary(max_size=3_000), st.integers(1, 20))
def test_what_is_packed_is_unpacked(data: bytes, times: int) -> None:
    packed = Packer().pack(data * times)
    assert packed is None or (unpack(packed) == data * times and len(packed) < len(data) * times)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_what_was_not_packed_is_refused(data: bytes) -> None:
    assert unpack(data) is None or unpack(data) == b""
