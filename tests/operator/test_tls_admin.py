"""The operator's calls to real members over TLS: at any address, under one name, with its pair where one is wanted."""

import asyncio
from pathlib import Path

import pytest

from sybline_operator.broker_admin import ChannelTls, Credentials, GrpcAdmin
from tests.support.certificates import Authority, SecretVolume
from tests.support.channels import Trust
from tests.support.cluster import ADMIN, ADMIN_PASSWORD, Cluster

pytestmark = pytest.mark.integration
HOST = "orders.shop.svc"
CA = Authority()


def channel(shown_by: Authority, trusted: Authority, host: str = HOST) -> ChannelTls:
    pair = shown_by.issue(identity="")
    return ChannelTls(host, trusted.pem, pair.certificate, pair.key)


def sees_members(cluster: Cluster, tls: ChannelTls | None) -> bool:
    admin = GrpcAdmin(cluster.addresses, Credentials(ADMIN, ADMIN_PASSWORD), tls)
    try:
        return admin.membership() is not None
    finally:
        admin.close()


async def test_members_answer_over_tls_and_to_nobody_who_does_not_trust_or_is_not_trusted(
    tmp_path: Path,
) -> None:
    pair = CA.issue(hosts=(HOST, "127.0.0.1", "localhost"))
    volume = SecretVolume(tmp_path / "tls", pair, CA)
    settings = {
        "TLS_ENABLED": "true",
        "TLS_CLIENT_AUTH": "required",
        "TLS_CERT_DIR": str(volume.directory),
    }
    client = CA.issue(identity="")
    trust = Trust(CA.pem, client.certificate, client.key)
    other = Authority()
    with Cluster(tmp_path, settings=settings, trust=trust) as cluster:
        await cluster.start_and_wait()
        expected = {
            "with all it takes": (channel(CA, CA), True),
            "members of another CA": (channel(CA, other), False),
            "a pair of another CA": (channel(other, CA), False),
            "another name": (channel(CA, CA, "others.shop.svc"), False),
            "in plain text": (None, False),
        }
        found = {
            name: await asyncio.to_thread(sees_members, cluster, tls)
            for name, (tls, _) in expected.items()
        }
    assert found == {name: sees for name, (_, sees) in expected.items()}
