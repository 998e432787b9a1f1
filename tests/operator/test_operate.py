"""The operator as a process: what it waits for before it watches, and what it says of itself meanwhile."""

import asyncio
import os
import signal
from collections.abc import Callable, Collection, Iterator

import pytest

from sybline_operator import limits, operate
from sybline_operator.lease import Candidate
from sybline_operator.looks import Looks
from sybline_operator.operate import Settings
from tests.operator.api_stub import ApiStub

CLUSTERS = "/apis/sybline.io/v1alpha1/namespaces/here/syblineclusters"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/here/leases/operator"
DEADLINE_S = 10.0


class Watches:
    """kopf's part, played: whether it was begun, and its end."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.end = asyncio.Event()

    async def __call__(self, looks: Looks, namespaces: Collection[str], *, identity: str) -> None:
        self.begun.set()
        await self.end.wait()
        await looks.stop()


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiStub]:
    monkeypatch.setattr(limits, "DEFINITION_RETRY_S", 0.01)
    monkeypatch.setattr(limits, "LEASE_RETRY_S", 0.01)
    with ApiStub().serving() as stub:
        monkeypatch.setattr(operate, "new_client", stub.new_client)
        yield stub


@pytest.fixture
def watches(monkeypatch: pytest.MonkeyPatch) -> Watches:
    watches = Watches()
    monkeypatch.setattr(operate, "watch", watches)
    return watches


def process(*, lease: Candidate | None = None) -> operate._Process:
    return operate._Process(Settings(("here",), "sybline:1", "one", lease=lease))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.001)


async def test_it_waits_for_the_resource_definition_and_says_so(
    stub: ApiStub, watches: Watches
) -> None:
    one = process()
    running = asyncio.create_task(one.run())
    await until(lambda: stub.asked.count(("GET", CLUSTERS)) > 2)
    assert not watches.begun.is_set()
    assert one.readiness()["ready"] is False
    stub.objects[CLUSTERS] = {"items": [], "metadata": {}}
    await asyncio.wait_for(watches.begun.wait(), DEADLINE_S)
    assert one.readiness()["ready"] is True
    watches.end.set()
    await asyncio.wait_for(running, DEADLINE_S)


async def test_it_can_be_stopped_while_it_waits(stub: ApiStub, watches: Watches) -> None:
    running = asyncio.create_task(process().run())
    await until(lambda: bool(stub.asked))
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, DEADLINE_S)
    assert not watches.begun.is_set()


async def test_the_one_that_stands_by_is_ready_and_names_the_one_that_acts(
    stub: ApiStub, watches: Watches
) -> None:
    stub.objects[CLUSTERS] = {"items": [], "metadata": {}}
    stub.objects[LEASE] = {
        "metadata": {"name": "operator", "namespace": "here", "resourceVersion": "1"},
        "spec": {"holderIdentity": "other", "leaseDurationSeconds": limits.LEASE_S},
    }
    one = process(lease=Candidate("here", "operator", "one"))
    running = asyncio.create_task(one.run())
    await until(lambda: one.readiness().get("holder") == "other")
    assert one.readiness() == {"ready": True, "acts": False, "holder": "other"}
    stub.objects[LEASE]["spec"]["holderIdentity"] = ""
    await asyncio.wait_for(watches.begun.wait(), DEADLINE_S)
    assert one.readiness()["acts"] is True
    watches.end.set()
    await asyncio.wait_for(running, DEADLINE_S)
    assert stub.objects[LEASE]["spec"]["holderIdentity"] == "", "given away at the end"


async def test_what_ends_the_watches_ends_the_process_and_gives_nothing_away_meanwhile(
    stub: ApiStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, identity: str) -> None:
        raise RuntimeError("kopf cannot go on")

    stub.objects[CLUSTERS] = {"items": [], "metadata": {}}
    monkeypatch.setattr(operate, "watch", fail)
    with pytest.raises(RuntimeError, match="cannot go on"):
        await process(lease=Candidate("here", "operator", "one")).run()
    assert stub.objects[LEASE]["spec"]["holderIdentity"] == "one"
