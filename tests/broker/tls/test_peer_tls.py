"""Members over TLS on real sockets: who is let in, who is not, and that refused ones cost nothing (REG-S4)."""

import asyncio
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sybline.clock import SystemClock
from sybline.errors import Unreachable
from sybline.replication import transport as transport_module
from sybline.replication.admission import Refusal, Standing
from sybline.replication.fail_stop import FailStopEdge
from sybline.replication.identity import Identity
from sybline.replication.measures import Counters
from sybline.replication.transport import Link, PeerTransport, TransportSettings
from sybline.tls.material import Usage
from sybline.tls.peers import PeerTls
from sybline.tls.store import TlsStore
from tests.support.certificates import (
    CLUSTER,
    IDENTITY,
    Authority,
    Pair,
    client_context,
    write_material,
)
from tests.support.connections import dialled
from tests.support.ports import free_port
from tests.support.waiting import wait_for

DEADLINE_S = 10.0
KIND = 20


class Inbox:
    """A receiver and gate that lets everybody in and writes down what it hears."""

    def __init__(self, member: int) -> None:
        self._member = member
        self.connections = 0
        self.frames: list[bytes] = []

    def connected(self, peer: int) -> None:
        self.connections += 1

    def disconnected(self, peer: int) -> None: ...

    def frame(self, peer: int, kind: int, body: memoryview) -> None:
        self.frames.append(bytes(body))

    def standing(self) -> Standing:
        return Standing(self._member, f"name-{self._member}")

    def judge(self, peer: Standing) -> Refusal | None:
        return None

    def told(self, member: int, refusal: Refusal) -> None: ...


@dataclass
class End:
    """One member."""

    transport: PeerTransport
    inbox: Inbox
    counters: Counters
    store: TlsStore | None


class Pairing:
    """Members 1 and 2 on loopback; 2 dials 1."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports = {1: free_port(), 2: free_port()}

    @asynccontextmanager
    async def member(
        self, number: int, pair: Pair | None, *trusted: Authority, host: str = "127.0.0.1"
    ) -> AsyncIterator[End]:
        """Run a member; without a pair it speaks plain TCP. `host`: the name by which it dials."""
        store = self.store(number, pair, *trusted) if pair is not None else None
        inbox, counters = Inbox(number), Counters()
        transport = PeerTransport(
            TransportSettings(
                identity=Identity(CLUSTER, number),
                listen_host="127.0.0.1",
                listen_port=self.ports[number],
                tls=None if store is None else PeerTls(store, IDENTITY),
            ),
            rng=random.Random(number),
            counters=counters,
            edge=FailStopEdge(pytest.fail),
        )
        await transport.start(inbox, inbox)
        transport.set_links({3 - number: Link((f"{host}:{self.ports[3 - number]}",), number == 2)})
        try:
            yield End(transport, inbox, counters, store)
        finally:
            await transport.stop()

    def store(self, number: int, pair: Pair, *trusted: Authority) -> TlsStore:
        """Return the material of a member; what a member itself would refuse can be tried, too."""
        files = write_material(self.directory / f"member-{number}", pair, *trusted)
        usage = Usage("peers", ssl.TLSVersion.TLSv1_3, ssl.CERT_REQUIRED)
        store = TlsStore(files, usage, SystemClock())
        store.load()
        return store


@pytest.fixture
def pairing(tmp_path: Path) -> Pairing:
    return Pairing(tmp_path)


@pytest.fixture
def ca() -> Authority:
    return Authority()


async def until(condition: Callable[[], bool], what: str) -> None:
    await wait_for(condition, what=what, deadline_s=DEADLINE_S, poll_s=0.005)


async def talk(one: End, two: End) -> None:
    """Wait until both are connected and hear each other."""
    await until(
        lambda: one.transport.is_connected(2) and two.transport.is_connected(1), "connected"
    )
    heard = len(one.inbox.frames), len(two.inbox.frames)
    body = random.Random(1).randbytes(1_500_000)
    assert one.transport.send(2, KIND, body)
    assert two.transport.send(1, KIND, body)
    await until(
        lambda: (len(one.inbox.frames), len(two.inbox.frames)) == (heard[0] + 1, heard[1] + 1),
        "heard",
    )
    assert one.inbox.frames[-1] == two.inbox.frames[-1] == body


async def test_members_talk_over_tls_13_without_a_secret(pairing: Pairing, ca: Authority) -> None:
    async with pairing.member(1, ca.issue(), ca) as one, pairing.member(2, ca.issue(), ca) as two:
        await talk(one, two)
        raw = one.transport._live[2]._transport
        assert raw is not None
        assert raw.get_extra_info("ssl_object").version() == "TLSv1.3"


async def test_a_member_can_be_identified_over_tls(pairing: Pairing, ca: Authority) -> None:
    async with pairing.member(1, ca.issue(), ca) as one:
        async with pairing.member(2, ca.issue(), ca), asyncio.timeout(DEADLINE_S):
            standing = await one.transport.identify(f"127.0.0.1:{pairing.ports[2]}")
        assert (standing.member, standing.name) == (2, "name-2")
        with pytest.raises(Unreachable):
            await one.transport.identify(f"127.0.0.1:{pairing.ports[2]}")


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("another CA", "CERTIFICATE_VERIFY_FAILED"),
        ("of a client", f"the certificate of the other side lacks the name URI:{IDENTITY}"),
        ("of another cluster", f"the certificate of the other side lacks the name URI:{IDENTITY}"),
    ],
)
@pytest.mark.parametrize("stranger", [1, 2], ids=["is dialled", "dials"])
async def test_reg_s4_who_has_no_certificate_of_a_member_never_meets_one(
    pairing: Pairing, ca: Authority, kind: str, told: str, stranger: int
) -> None:
    other = Authority()
    strange = {
        "another CA": (other.issue(), other, ca),
        "of a client": (ca.issue(identity=""), ca),
        "of another cluster": (ca.issue(identity="sybline://other/peer"), ca),
    }[kind]
    good = (ca.issue(), ca)
    materials = {stranger: strange, 3 - stranger: good}
    with capture_logs() as lines:
        async with pairing.member(1, *materials[1]) as one, pairing.member(2, *materials[2]) as two:
            member = {1: two, 2: one}[stranger]
            await until(lambda: member.counters.handshakes_refused >= 2, "refused more than once")
    assert one.inbox.connections == two.inbox.connections == 0
    reasons = [line["reason"] for line in lines if line["event"] == "peer_refused"]
    assert any(told in reason for reason in reasons), reasons


async def test_a_member_that_answers_under_a_name_its_certificate_lacks_is_refused(
    pairing: Pairing, ca: Authority
) -> None:
    elsewhere = ca.issue(hosts=["broker-9.example"])
    with capture_logs() as lines:
        async with (
            pairing.member(1, elsewhere, ca) as one,
            pairing.member(2, ca.issue(), ca, host="localhost") as two,
        ):
            await until(lambda: two.counters.handshakes_refused >= 2, "refused")
        assert one.inbox.connections == two.inbox.connections == 0
    assert any("Hostname mismatch" in line.get("reason", "") for line in lines)


@pytest.mark.parametrize("plain", [1, 2])
async def test_plain_text_and_tls_never_meet(pairing: Pairing, ca: Authority, plain: int) -> None:
    one_pair, two_pair = (None if plain == number else ca.issue() for number in (1, 2))
    async with pairing.member(1, one_pair, ca) as one, pairing.member(2, two_pair, ca) as two:
        refused = [one.counters, two.counters]
        await until(
            lambda: sum(c.handshakes_refused + c.peer_frames_refused for c in refused) >= 2,
            "refused more than once",
        )
    assert one.inbox.connections == two.inbox.connections == 0


async def test_reg_s4_a_connection_without_a_certificate_is_closed_unheard(
    pairing: Pairing, ca: Authority, tmp_path: Path
) -> None:
    async with pairing.member(1, ca.issue(), ca) as one:
        context = client_context(tmp_path, ca)
        async with dialled(pairing.ports[1], tls=context) as (reader, _):
            with suppress(ConnectionError, ssl.SSLError):
                async with asyncio.timeout(DEADLINE_S):
                    assert await reader.read() == b""
        await until(lambda: one.counters.handshakes_refused == 1, "counted")
        assert one.inbox.connections == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_less_than_tls_13_is_refused(
    pairing: Pairing, ca: Authority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    context = client_context(tmp_path, ca, pair=ca.issue(), version=version)
    async with pairing.member(1, ca.issue(), ca) as one:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with dialled(pairing.ports[1], tls=context):
                pass
        await until(lambda: one.counters.handshakes_refused == 1, "counted")


async def test_openings_that_fail_are_forgotten(pairing: Pairing, ca: Authority) -> None:
    """Openings are bounded, so one that nobody forgot would in the end keep members out, too."""
    async with pairing.member(1, ca.issue(), ca) as one:
        for _ in range(transport_module.OPENINGS_MAX + 5):
            async with dialled(pairing.ports[1]) as (reader, writer):
                writer.write(b"no TLS\r\n\r\n")
                with suppress(ConnectionError):
                    async with asyncio.timeout(DEADLINE_S):
                        await reader.read()
        await until(lambda: not one.transport._openings, "forgotten")
        assert one.counters.handshakes_refused == transport_module.OPENINGS_MAX + 5
        async with pairing.member(2, ca.issue(), ca) as two:
            await talk(one, two)
            await until(lambda: not two.transport._openings, "nothing is open at the dialler")


async def test_a_silent_stranger_is_cut_off_in_time(
    pairing: Pairing, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "TLS_TIMEOUT_S", 0.1)
    async with pairing.member(1, ca.issue(), ca) as one:
        with socket.create_connection(("127.0.0.1", pairing.ports[1])) as silent:
            silent.setblocking(False)
            async with asyncio.timeout(DEADLINE_S):
                with suppress(ConnectionError):
                    assert await asyncio.get_running_loop().sock_recv(silent, 1) == b""
        await until(lambda: not one.transport._openings, "forgotten")


async def test_reg_k8_new_material_counts_from_the_next_connection_on(
    pairing: Pairing, ca: Authority
) -> None:
    """Two phases: trust both CAs, then change certificates, then drop the old CA. Links live through all of it."""
    new = Authority()
    async with pairing.member(1, ca.issue(), ca) as one, pairing.member(2, ca.issue(), ca) as two:
        await talk(one, two)
        for issuer, trusted in [(ca, (ca, new)), (new, (ca, new)), (new, (new,))]:
            for number, end in ((1, one), (2, two)):
                write_material(pairing.directory / f"member-{number}", issuer.issue(), *trusted)
                assert end.store is not None
                end.store.check()
            await talk(one, two)
            assert (one.inbox.connections, two.counters.peer_connections_lost) == (1, 0)
        two.transport._live[1].abort()
        await until(lambda: one.inbox.connections == 2, "connected afresh, with the new CA")
        await talk(one, two)
    async with (
        pairing.member(1, new.issue(), new) as one,
        pairing.member(2, ca.issue(), ca, new) as two,
    ):
        await until(lambda: one.counters.handshakes_refused >= 2, "the old CA counts no more")
        assert one.inbox.connections == 0
