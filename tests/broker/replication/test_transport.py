"""The peer transport on loopback: order, identity, bounds; strangers and garbage change nothing (REG-S2)."""

import asyncio
import errno
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from sybline import limits
from sybline.replication import transport as transport_module
from sybline.replication.admission import Refusal, Standing
from sybline.replication.fail_stop import FailStopEdge
from sybline.replication.handshake import HandshakeKind
from sybline.replication.identity import Identity
from sybline.replication.measures import Counters
from sybline.replication.messages import BadFrame
from sybline.replication.transport import Link, PeerTransport, TransportSettings, split_address
from tests.support.connections import dialled, dialled_often
from tests.support.ports import free_port
from tests.support.waiting import wait_for

DEADLINE_S = 10.0
KIND = 20


class Inbox:
    """A receiver that writes down everything."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.frames: list[tuple[int, int, bytes]] = []
        self.bad_body: bytes | None = None

    def connected(self, peer: int) -> None:
        self.events.append(("connected", peer))

    def disconnected(self, peer: int) -> None:
        self.events.append(("disconnected", peer))

    def frame(self, peer: int, kind: int, body: bytes) -> None:
        if body == self.bad_body:
            raise BadFrame("the receiver cannot read it")
        self.frames.append((peer, kind, body))


class OpenGate:
    """Lets in whoever proves to be of the cluster."""

    def __init__(self, member: int) -> None:
        self._member = member
        self.told_by: list[tuple[int, Refusal]] = []

    def standing(self) -> Standing:
        return Standing(self._member, f"name-{self._member}")

    def judge(self, peer: Standing) -> Refusal | None:
        return None

    def told(self, member: int, refusal: Refusal) -> None:
        self.told_by.append((member, refusal))


def links_of(member: int, ports: dict[int, int]) -> dict[int, Link]:
    """Return the links of a member: the greater number dials."""
    return {
        other: Link((f"127.0.0.1:{port}",), dials=other < member)
        for other, port in ports.items()
        if other != member
    }


class End:
    """One member's transport with what it received."""

    def __init__(self, transport: PeerTransport, inbox: Inbox, counters: Counters) -> None:
        self.transport = transport
        self.inbox = inbox
        self.counters = counters


@asynccontextmanager
async def listening(
    member: int,
    ports: dict[int, int],
    *,
    cluster: str = "sybline",
    secret: bytes = b"secret",
) -> AsyncIterator[End]:
    inbox, counters = Inbox(), Counters()
    settings = TransportSettings(
        identity=Identity(cluster, member),
        listen_host="127.0.0.1",
        listen_port=ports[member],
        secret=secret,
    )
    transport = PeerTransport(
        settings, rng=random.Random(member), counters=counters, edge=FailStopEdge(pytest.fail)
    )
    await transport.start(inbox, OpenGate(member))
    transport.set_links(links_of(member, ports))
    try:
        yield End(transport, inbox, counters)
    finally:
        await transport.stop()


@pytest.fixture
def ports() -> dict[int, int]:
    return {member: free_port() for member in (1, 2, 3)}


async def until(condition: Callable[[], bool], what: str) -> None:
    await wait_for(condition, what=what, deadline_s=DEADLINE_S, poll_s=0.005)


async def connected(one: End, other: End) -> None:
    first, second = one.transport, other.transport
    await until(lambda: bool(first._live) and bool(second._live), "both ends have a connection")


async def test_frames_arrive_whole_and_in_order_both_ways(ports: dict[int, int]) -> None:
    rng = random.Random(5)
    sizes = [0, 1, 5, 255, 65_536, 1_000_000, limits.FRAME_BYTES_MAX - 1, 3, 300_000, 17]
    bodies = [rng.randbytes(size) for size in sizes]
    async with listening(1, ports) as one, listening(3, ports) as three:
        await connected(one, three)
        for body in bodies:
            assert one.transport.send(3, KIND, body)
            assert three.transport.send(1, KIND + 1, body)
        await until(lambda: len(three.inbox.frames) == len(bodies), "all arrived at 3")
        await until(lambda: len(one.inbox.frames) == len(bodies), "all arrived at 1")
    assert three.inbox.frames == [(1, KIND, body) for body in bodies]
    assert one.inbox.frames == [(3, KIND + 1, body) for body in bodies]


async def test_many_small_frames_in_one_turn_are_joined_and_arrive(ports: dict[int, int]) -> None:
    async with listening(1, ports) as one, listening(2, ports) as two:
        await connected(one, two)
        for number in range(20_000):
            assert one.transport.send(2, KIND, struct.pack("<I", number))
        await until(lambda: len(two.inbox.frames) == 20_000, "all arrived")
    assert [struct.unpack("<I", body)[0] for _, _, body in two.inbox.frames] == list(range(20_000))


async def test_a_peer_that_comes_back_is_connected_again(ports: dict[int, int]) -> None:
    async with listening(3, ports) as three:
        for _ in range(2):
            async with listening(1, ports) as one:
                await connected(one, three)
            await until(lambda: not three.transport.is_connected(1), "3 knows that 1 has left")
    assert three.inbox.events == [("connected", 1), ("disconnected", 1)] * 2


async def test_without_a_connection_nothing_is_taken(ports: dict[int, int]) -> None:
    async with listening(1, ports) as one:
        assert not one.transport.send(2, KIND, b"lost")
        assert not one.transport.send(9, KIND, b"lost")


@pytest.mark.parametrize(
    ("cluster", "secret"), [("other", b"secret"), ("sybline", b"wrong"), ("sybline", b"")]
)
async def test_members_of_another_cluster_or_secret_never_meet(
    ports: dict[int, int], cluster: str, secret: bytes
) -> None:
    async with listening(1, ports) as one, listening(3, ports, cluster=cluster, secret=secret) as x:
        await until(lambda: one.counters.handshakes_refused >= 2, "refused more than once")
        await until(lambda: x.counters.handshakes_refused >= 2, "and told so")
    assert one.inbox.events == []
    assert x.inbox.events == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 40,
        b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.",
        struct.pack("<IB", 2, HandshakeKind.PROOF) + b"x",
        struct.pack("<IB", 0, 0),
        struct.pack("<I", 0xFFFFFFFF),
        bytes(range(256)) * 64,
    ],
)
async def test_a_stranger_is_cut_off_and_nothing_reaches_the_member(
    ports: dict[int, int], garbage: bytes
) -> None:
    async with listening(1, ports) as one:
        async with dialled(ports[1]) as (reader, writer):
            writer.write(garbage)
            answer = b""
            with suppress(ConnectionError):
                async with asyncio.timeout(DEADLINE_S):
                    answer = await reader.read()
        assert b"sybline" not in answer.lower()
        refused = one.counters
        await until(
            lambda: refused.handshakes_refused + refused.peer_frames_refused == 1, "counted once"
        )
    assert one.inbox.events == []
    assert one.inbox.frames == []


async def test_a_silent_stranger_is_cut_off_in_time(
    ports: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "HANDSHAKE_TIMEOUT_S", 0.1)
    async with listening(1, ports), dialled(ports[1]) as (reader, _):
        async with asyncio.timeout(DEADLINE_S):
            with suppress(ConnectionError):
                assert await reader.read() == b""


async def test_unproved_connections_are_few(ports: dict[int, int]) -> None:
    many = transport_module.OPENINGS_MAX + 20
    async with listening(1, ports) as one, dialled_often(ports[1], many) as strangers:
        closed = [reader for reader, _ in strangers]
        await until(lambda: sum(r.at_eof() for r in closed) >= 20, "the surplus is closed")
        assert len(one.transport._openings) <= transport_module.OPENINGS_MAX


async def test_an_oversize_frame_is_refused_before_its_bytes_are_waited_for(
    ports: dict[int, int],
) -> None:
    async with listening(1, ports) as one, listening(3, ports) as three:
        await connected(one, three)
        raw = three.transport._live[1]._transport
        assert raw is not None
        raw.write(struct.pack("<IB", limits.FRAME_BYTES_MAX + 1, KIND))
        await until(lambda: one.counters.peer_frames_refused == 1, "refused")
        await until(lambda: len(three.inbox.events) >= 3, "connected afresh")
    assert one.inbox.frames == []


async def test_a_frame_the_member_cannot_read_closes_the_connection(ports: dict[int, int]) -> None:
    async with listening(1, ports) as one, listening(3, ports) as three:
        await connected(one, three)
        one.inbox.bad_body = b"nonsense"
        three.transport.send(1, KIND, b"good")
        three.transport.send(1, KIND, b"nonsense")
        three.transport.send(1, KIND, b"never seen")
        await until(lambda: len(one.inbox.events) >= 3, "cut off and connected again")
    assert one.inbox.frames == [(3, KIND, b"good")]
    assert one.counters.peer_frames_refused == 1


async def test_a_peer_that_reads_nothing_is_cut_off_at_the_bound(
    ports: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PEER_WRITE_BUFFER_BYTES_MAX", 4 * limits.MIB)
    async with listening(1, ports) as one, listening(3, ports) as three:
        await connected(one, three)
        raw = three.transport._live[1]._transport
        assert raw is not None
        raw.pause_reading()
        taken = 0
        while one.transport.send(3, KIND, b"x" * limits.MIB):
            taken += 1
            assert taken < 64
            await asyncio.sleep(0)
        assert one.counters.peer_stalled == 1
        raw.resume_reading()
        await until(lambda: one.inbox.events.count(("connected", 3)) == 2, "connected again")


async def test_the_newest_connection_of_a_peer_counts(ports: dict[int, int]) -> None:
    async with listening(1, ports) as one, listening(3, ports) as three:
        await connected(one, three)
        first = one.transport._live[3]
        dialled = await three.transport._connect(1, 0)
        assert dialled is not None
        await until(lambda: one.transport._live.get(3) not in (None, first), "replaced")
        assert first.is_closing
        await until(lambda: three.transport.is_connected(1), "3 follows")
        assert one.transport.send(3, KIND, b"over the new one")
        await until(lambda: bool(three.inbox.frames), "arrived")
    assert one.inbox.events[:3] == [("connected", 3), ("disconnected", 3), ("connected", 3)]


async def test_too_many_open_files_do_not_end_the_listener(
    ports: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    accept, failures = socket.socket.accept, [errno.EMFILE, errno.ENFILE, errno.ECONNABORTED]

    def failing(listener: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            raise OSError(failures.pop(), "no more")
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", failing)
    async with listening(1, ports) as one, listening(3, ports) as three:
        await connected(one, three)
    assert one.counters.peer_accept_errors + three.counters.peer_accept_errors == 3


async def test_a_connection_accepted_while_the_member_stops_is_closed(
    ports: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    accept, accepted = socket.socket.accept, []

    def noted(listener: socket.socket) -> tuple[socket.socket, object]:
        connection, address = accept(listener)
        accepted.append(connection)
        stopping.append(asyncio.ensure_future(one.transport.stop()))  # before it is looked at
        return connection, address

    stopping: list[asyncio.Future[None]] = []
    async with listening(1, ports) as one:
        monkeypatch.setattr(socket.socket, "accept", noted)
        with socket.create_connection(("127.0.0.1", ports[1]), timeout=DEADLINE_S):
            await until(lambda: bool(accepted), "accepted")
            await asyncio.gather(*stopping)
            assert [connection.fileno() for connection in accepted] == [-1]


async def test_a_connection_without_traffic_is_kept_and_a_dead_one_is_not(
    ports: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "CHECK_INTERVAL_S", 0.02)
    async with listening(1, ports) as one, listening(3, ports) as three:
        await connected(one, three)
        kept = one.transport._live[3]
        assert kept.count_silence() <= 1
        sent = [0]

        def counted_send(peer: int, kind: int, body: bytes) -> bool:
            sent[0] += 1
            return True  # a peer that hangs: it is there and says nothing

        await until(lambda: one.transport._live[3] is kept, "still the first")
        monkeypatch.setattr(three.transport, "send", counted_send)
        await until(lambda: sent[0] > 3, "3 has been silent")
        await until(lambda: one.transport._live.get(3) is not kept, "cut off")
    assert one.inbox.frames == []


async def test_an_address_in_use_is_an_error_at_start(ports: dict[int, int]) -> None:
    async with listening(1, ports):
        with pytest.raises(OSError, match="in use"):
            async with listening(1, ports):
                pass


def test_addresses_have_a_host_and_a_port() -> None:
    assert split_address("sybline-0.sybline:1111") == ("sybline-0.sybline", 1111)
    assert split_address("[::1]:1111") == ("::1", 1111)
    for wrong in ("host", ":1", "host:port"):
        with pytest.raises(ValueError, match=r"host|literal"):
            split_address(wrong)
