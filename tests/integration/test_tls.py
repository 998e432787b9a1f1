"""Real members over TLS: an old client, and a whole rotation, CA included, under load (REG-K8, REG-S4)."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority, SecretVolume
from tests.support.channels import Trust
from tests.support.checker import OK
from tests.support.client import Client
from tests.support.cluster import ADMIN, ADMIN_PASSWORD, SYBLINE, Cluster
from tests.support.load import Load, LoadSettings, running_load
from tests.support.old_client import OldClient, OldClientError
from tests.support.waiting import wait_for, wait_until

pytestmark = pytest.mark.integration

EXPIRY = "sybline_tls_certificate_expiry_timestamp_seconds"
CONFIRMS = 60  # between the steps of a rotation
DEADLINE_S = 15.0


class SecureCluster:
    """Three members without a cluster secret, each with a Secret volume of its own."""

    def __init__(self, directory: Path) -> None:
        self.ca = Authority()
        self.volumes = {
            member: SecretVolume(directory / f"tls-{member}", self.ca.issue(), self.ca)
            for member in (1, 2, 3)
        }
        settings = {
            "TLS_ENABLED": "true",
            "TLS_CLIENT_AUTH": "required",
            "SYBLINE_TLS__CHECK_S": "0.2",
        }
        self.cluster = Cluster(directory, settings=settings, trust=self.trust(self.ca))
        for member, volume in self.volumes.items():
            environment = self.cluster[member].environment
            environment["TLS_CERT_DIR"] = str(volume.directory)
            del environment["CLUSTER_SECRET"]

    def trust(self, *trusted: Authority, issuer: Authority | None = None) -> Trust:
        """Return what a client with a certificate of `issuer` (default: the first CA) has."""
        pair = (issuer or self.ca).issue(identity="")
        return Trust(b"".join(each.pem for each in trusted), pair.certificate, pair.key)

    async def replace(self, issuer: Authority, *trusted: Authority) -> None:
        """Give every member a new certificate, and wait until it is served."""
        for member, volume in self.volumes.items():
            pair = issuer.issue()
            volume.update(pair, *trusted)
            for usage in ("clients", "peers"):
                await self._wait_shown(
                    member, f'{EXPIRY}{{usage="{usage}",serial="{pair.serial}"}}'
                )

    async def _wait_shown(self, member: int, name: str) -> None:
        async def shown() -> bool:
            return name in await self.cluster.metrics(member)

        await wait_until(shown, what=f"member {member} shows {name}", deadline_s=DEADLINE_S)


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[SecureCluster]:
    made = SecureCluster(tmp_path)
    with made.cluster:
        yield made


async def test_reg_k8_a_rotation_of_certificates_and_ca_under_load_fails_no_publish(
    secure: SecureCluster,
) -> None:
    """Trust the new CA, change the certificates, drop the old CA; clients connect afresh after each step."""
    cluster, old, new = secure.cluster, secure.ca, Authority()
    await cluster.start_and_wait()
    await _run_old_client(secure)
    assert await asyncio.to_thread(_healthcheck, secure) == 0
    # A client that has the new CA already: the one that must not be surprised.
    cluster.trust = secure.trust(old, new)
    load = Load(
        cluster.addresses,
        LoadSettings(publishers=4, consumers=2, abandon_share=0.0, call_timeout_s=10.0),
        trust=cluster.trust,
    )
    async with running_load(load):
        await _wait_confirmed(load)
        for issuer, trusted in [(old, (old, new)), (new, (old, new)), (new, (new,))]:
            await secure.replace(issuer, *trusted)
            load.trust = cluster.trust = secure.trust(old, new, issuer=issuer)
            load.move_to(cluster.addresses)
            await _wait_confirmed(load)
        await load.stop_publishing()
        await load.stop()
    assert {publish.outcome for publish in load.history.publishes} == {OK}
    assert not load.refusals
    for member in cluster.members:
        metrics = await cluster.metrics(member)
        assert metrics['sybline_tls_reloads_total{usage="peers"}'] == 3
        assert metrics["sybline_raft_leader_changes_total"] == 1
        assert metrics["sybline_peer_connections_lost_total"] == 0
    await _see_that_the_old_ca_is_gone(secure, new)


def _healthcheck(secure: SecureCluster) -> int:
    """Return the status of the health check of an image with the first member's environment."""
    member = secure.cluster[1]
    environment = {"PATH": os.environ["PATH"], **member.environment}
    command = [str(SYBLINE), "healthcheck"]
    return subprocess.run(command, cwd=member.directory, env=environment, timeout=20).returncode


async def _run_old_client(secure: SecureCluster) -> None:
    """An old client has one CA and presents a certificate; without one it finds no member (wire contract §13)."""
    client = OldClient(secure.cluster.addresses, ADMIN, ADMIN_PASSWORD, trust=secure.cluster.trust)
    async with asyncio.timeout(DEADLINE_S):
        await client.connect()
        await client.create_queue("key", "old", 100, 3, has_dl_queue=True)
        await client.submit_message("key", b"over TLS")
        ((message_id, body),) = await client.get_messages("old", 10)
        await client.ack("old", message_id)
        await client.close()
    assert (body, client.seen_texts) == (b"over TLS", [])
    without = OldClient(secure.cluster.addresses, ADMIN, ADMIN_PASSWORD, trust=Trust(secure.ca.pem))
    with pytest.raises(OldClientError, match="unable to find the leader node"):
        await without.connect()
    await without.close()


async def _see_that_the_old_ca_is_gone(secure: SecureCluster, new: Authority) -> None:
    """Neither a client nor a member that comes back is taken with the old CA; with the new one both are."""
    cluster = secure.cluster
    async with Client(cluster.addresses[0], trust=secure.trust(new, issuer=new)) as client:
        await client.login()
    leader = await cluster.wait_leader()
    back, other = (member for member in cluster.members if member != leader)
    cluster[back].kill()
    good = (secure.volumes[back].directory / "..data").resolve()
    secure.volumes[back].update(secure.ca.issue(), secure.ca, new)
    cluster[back].start()
    await wait_for(
        lambda: (
            "CERTIFICATE_VERIFY_FAILED" in cluster[leader].log_text() + cluster[other].log_text()
        ),
        what="the old certificate is refused",
        deadline_s=DEADLINE_S,
    )
    assert (await cluster.http_get(back, "/readyz"))[0] == 503
    link = secure.volumes[back].directory / "..data"
    link.unlink()
    link.symlink_to(good.name)
    await cluster.wait_serving(back, deadline_s=DEADLINE_S)


async def _wait_confirmed(load: Load) -> None:
    wanted = load.confirmed + CONFIRMS
    await wait_for(
        lambda: load.confirmed >= wanted, what=f"{CONFIRMS} more confirms", deadline_s=DEADLINE_S
    )


async def test_a_member_with_bad_certificates_does_not_start_and_says_why(tmp_path: Path) -> None:
    secure = SecureCluster(tmp_path)
    with secure.cluster as cluster:
        secure.volumes[1].update(secure.ca.issue(identity=""), secure.ca)
        cluster[1].start()
        assert await asyncio.to_thread(cluster[1].wait_stopped) == 1
        last = cluster[1].log_text().splitlines()[-1]
    path = secure.volumes[1].directory / "cert.pem"
    assert last == (
        f"sybline: {path}: without the name URI:sybline://sybline/peer it is not the certificate of "
        "a member; it has no URI"
    )
